"""Metadata filters: `{"year": {"ge": 2020}, "lang": "en"}` to a predicate; all must hold."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

from backends.errors import RequestRejected

Predicate = Callable[[Mapping[str, Any]], bool]

_MISSING = object()
_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "ge": operator.ge,
    "gt": operator.gt,
    "le": operator.le,
    "lt": operator.lt,
}
_KNOWN = ("in", "ne", *_ORDERED)


def compile_where(where: Mapping[str, Any] | None) -> Predicate | None:
    """The predicate of a filter, None for no filter. Raises RequestRejected.

    A value means equality. A field that a document lacks fails every test but `ne`; values of
    kinds that have no order (a str and an int) fail `ge`, `gt`, `le` and `lt`.
    """
    if not where:
        return None
    if not isinstance(where, Mapping):
        raise RequestRejected(f"where must map fields to values or tests, got {where!r}")
    tests = [test for field, wanted in where.items() for test in _tests(field, wanted)]
    return lambda metadata: all(test(metadata) for test in tests)


def _tests(field: str, wanted: Any) -> list[Predicate]:
    if not isinstance(wanted, Mapping):
        return [lambda metadata: metadata.get(field, _MISSING) == wanted]
    return [_test(field, name, value) for name, value in wanted.items()]


def _test(field: str, name: str, value: Any) -> Predicate:
    if name == "ne":
        return lambda metadata: metadata.get(field, _MISSING) != value
    if name == "in":
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            raise RequestRejected(f"where {field!r}: 'in' takes a list, got {value!r}")
        choices = list(value)
        return lambda metadata: metadata.get(field, _MISSING) in choices
    if name in _ORDERED:
        return lambda metadata: _compare(_ORDERED[name], metadata.get(field, _MISSING), value)
    raise RequestRejected(
        f"where {field!r}: unknown operator {name!r}; known: {', '.join(_KNOWN)}, "
        "or a plain value for equality"
    )


def _compare(compare: Callable[[Any, Any], bool], found: Any, value: Any) -> bool:
    try:
        return found is not _MISSING and compare(found, value)
    except TypeError:
        return False
