"""Metadata filters: `{"year": {"ge": 2020}, "lang": "en"}` as tests; all must hold."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from backends.errors import RequestRejected

_MISSING = object()
ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "ge": operator.ge,
    "gt": operator.gt,
    "le": operator.le,
    "lt": operator.lt,
}
_KNOWN = ("in", "ne", *ORDERED)


@dataclass(frozen=True, slots=True)
class Test:
    """One test of one field of a document's metadata."""

    field: Any
    name: str  # eq, ne, in, or one of ORDERED
    value: Any  # of `in` a list

    def __call__(self, metadata: Mapping[str, Any]) -> bool:
        found = metadata.get(self.field, _MISSING)
        match self.name:
            case "eq":
                return bool(found == self.value)
            case "ne":
                return bool(found != self.value)
            case "in":
                return found in self.value
        return _compare(ORDERED[self.name], found, self.value)


@dataclass(frozen=True, slots=True)
class Where:
    """All tests of a filter; called with metadata it says whether they hold."""

    tests: tuple[Test, ...]

    def __call__(self, metadata: Mapping[str, Any]) -> bool:
        return all(test(metadata) for test in self.tests)


def compile_where(where: Mapping[str, Any] | None) -> Where | None:
    """The tests of a filter, None if there are none. Raises RequestRejected.

    A value means equality. A field that a document lacks fails every test but `ne`; values of
    kinds that have no order (a str and an int) fail `ge`, `gt`, `le` and `lt`.
    """
    if not where:
        return None
    if not isinstance(where, Mapping):
        raise RequestRejected(f"where must map fields to values or tests, got {where!r}")
    tests = tuple(test for field, wanted in where.items() for test in _tests(field, wanted))
    return Where(tests) if tests else None


def _tests(field: str, wanted: Any) -> list[Test]:
    if not isinstance(wanted, Mapping):
        return [Test(field, "eq", wanted)]
    return [_test(field, name, value) for name, value in wanted.items()]


def _test(field: str, name: str, value: Any) -> Test:
    if name == "in":
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            raise RequestRejected(f"where {field!r}: 'in' takes a list, got {value!r}")
        return Test(field, "in", list(value))
    if name == "ne" or name in ORDERED:
        return Test(field, name, value)
    raise RequestRejected(
        f"where {field!r}: unknown operator {name!r}; known: {', '.join(_KNOWN)}, "
        "or a plain value for equality"
    )


def _compare(compare: Callable[[Any, Any], bool], found: Any, value: Any) -> bool:
    try:
        return found is not _MISSING and bool(compare(found, value))
    except TypeError:
        return False
