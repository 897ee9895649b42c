"""Whether a JSON value keeps to a JSON schema: the keywords by which answers are held to a form.

Keywords that are not here (`format`, `if`, `patternProperties` ...) are not checked, so an answer
is never refused for a rule that was read wrong.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_TYPES: Mapping[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": int | float,
    "boolean": bool,
    "null": type(None),
}


def first_fault(value: Any, schema: Any, root: Any = None) -> str | None:
    """What is wrong with the value, and where; None if nothing is. References are from `root`."""
    return next(_faults(value, schema, schema if root is None else root), None)


def _faults(value: Any, schema: Any, root: Any) -> Iterator[str]:
    if schema is False:
        yield f"{_short(value)} is not allowed here"
    if not isinstance(schema, Mapping):
        return
    node = _Node(schema, root)
    for key, rule in schema.items():
        if key in _OF_VALUES:
            yield from _OF_VALUES[key](value, rule)
        elif key in _OF_NODES:
            yield from _OF_NODES[key](node, value, rule)


class _Node:
    """The keywords that lead to other schemas; one method each: (value, rule) -> faults."""

    def __init__(self, schema: Mapping[str, Any], root: Any) -> None:
        self._schema = schema
        self._root = root

    def ref(self, value: Any, rule: Any) -> Iterator[str]:
        target = self._root
        if not isinstance(rule, str) or not rule.startswith("#"):
            return
        for step in rule.removeprefix("#").split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            target = target.get(name) if isinstance(target, Mapping) else None
        if target is not None and target is not self._schema:
            yield from self._below(value, target)

    def any_of(self, value: Any, rule: Any) -> Iterator[str]:
        if all(self._fault(value, one) for one in rule):
            yield f"{_short(value)} keeps to none of {len(rule)} schemas"

    def one_of(self, value: Any, rule: Any) -> Iterator[str]:
        kept = sum(self._fault(value, one) is None for one in rule)
        if kept != 1:
            yield f"{_short(value)} keeps to {kept} of {len(rule)} schemas, not to one"

    def all_of(self, value: Any, rule: Any) -> Iterator[str]:
        for one in rule:
            yield from self._below(value, one)

    def properties(self, value: Any, rule: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for name in rule.keys() & value.keys():
                yield from self._below(value[name], rule[name], f"{name}: ")

    def additional(self, value: Any, rule: Any) -> Iterator[str]:
        if not isinstance(value, dict) or "patternProperties" in self._schema:
            return
        for name in value.keys() - self._schema.get("properties", {}).keys():
            if rule is False:
                yield f"it has no key {name!r}"
            else:
                yield from self._below(value[name], rule, f"{name}: ")

    def items(self, value: Any, rule: Any) -> Iterator[str]:
        if isinstance(value, list) and not isinstance(rule, list):
            for at in range(len(self._schema.get("prefixItems", ())), len(value)):
                yield from self._below(value[at], rule, f"[{at}]: ")

    def prefix_items(self, value: Any, rule: Any) -> Iterator[str]:
        if isinstance(value, list):
            for at, (item, one) in enumerate(zip(value, rule, strict=False)):
                yield from self._below(item, one, f"[{at}]: ")

    def _fault(self, value: Any, schema: Any) -> str | None:
        return next(self._below(value, schema), None)

    def _below(self, value: Any, schema: Any, where: str = "") -> Iterator[str]:
        return (f"{where}{why}" for why in _faults(value, schema, self._root))


def _type(value: Any, rule: Any) -> Iterator[str]:
    names = [rule] if isinstance(rule, str) else rule
    if not any(_is_of(value, name) for name in names):
        yield f"{_short(value)} is not of type {' or '.join(names)}"


def _is_of(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if isinstance(value, float) and value.is_integer() and name == "integer":
        return True
    return isinstance(value, _TYPES.get(name, object))


def _enum(value: Any, rule: Any) -> Iterator[str]:
    if not any(_equal(value, one) for one in rule):
        yield f"{_short(value)} is none of {_short(rule)}"


def _const(value: Any, rule: Any) -> Iterator[str]:
    if not _equal(value, rule):
        yield f"{_short(value)} is not {_short(rule)}"


def _equal(one: Any, other: Any) -> bool:
    """JSON's equality: true is not 1, also inside of lists and objects."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _required(value: Any, rule: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (f"{name!r} is missing" for name in rule if name not in value)


def _unique(value: Any, rule: Any) -> Iterator[str]:
    if rule and isinstance(value, list):
        for at, item in enumerate(value):
            if any(_equal(item, other) for other in value[:at]):
                yield f"[{at}]: {_short(item)} is there twice"


def _pattern(value: Any, rule: Any) -> Iterator[str]:
    try:
        pattern = re.compile(rule)
    except re.error:  # another dialect's
        return
    if isinstance(value, str) and not pattern.search(value):
        yield f"{_short(value)} does not match {rule!r}"


def _multiple(value: Any, rule: Any) -> Iterator[str]:
    if _is_number(value) and rule >= 1 and not math.isclose(value / rule, round(value / rule)):
        yield f"{value} is no multiple of {rule}"  # of a fraction, floats cannot tell


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


ValueCheck = Callable[[Any, Any], Iterator[str]]


def _limit(of: Callable[[Any], Any], breaks: Callable[[Any, Any], bool], word: str) -> ValueCheck:
    def check(value: Any, rule: Any) -> Iterator[str]:
        measured = of(value)
        if measured is not None and breaks(measured, rule):
            yield f"{_short(value)} is {word} {rule}"

    return check


def _number(value: Any) -> Any:
    return value if _is_number(value) else None


def _len_of(kind: type[str] | type[list[Any]] | type[dict[str, Any]]) -> Callable[[Any], Any]:
    return lambda value: len(value) if isinstance(value, kind) else None


def _is_below(measured: Any, rule: Any) -> bool:
    return bool(measured < rule)


def _is_above(measured: Any, rule: Any) -> bool:
    return bool(measured > rule)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_OF_VALUES: Mapping[str, ValueCheck] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "required": _required,
    "uniqueItems": _unique,
    "pattern": _pattern,
    "multipleOf": _multiple,
    "minimum": _limit(_number, _is_below, "below"),
    "maximum": _limit(_number, _is_above, "above"),
    "exclusiveMinimum": _limit(_number, lambda m, rule: bool(m <= rule), "not above"),
    "exclusiveMaximum": _limit(_number, lambda m, rule: bool(m >= rule), "not below"),
    "minLength": _limit(_len_of(str), _is_below, "shorter than"),
    "maxLength": _limit(_len_of(str), _is_above, "longer than"),
    "minItems": _limit(_len_of(list), _is_below, "shorter than"),
    "maxItems": _limit(_len_of(list), _is_above, "longer than"),
    "minProperties": _limit(_len_of(dict), _is_below, "smaller than"),
    "maxProperties": _limit(_len_of(dict), _is_above, "larger than"),
}
_OF_NODES: Mapping[str, Callable[[_Node, Any, Any], Iterator[str]]] = {
    "$ref": _Node.ref,
    "anyOf": _Node.any_of,
    "oneOf": _Node.one_of,
    "allOf": _Node.all_of,
    "properties": _Node.properties,
    "additionalProperties": _Node.additional,
    "items": _Node.items,
    "prefixItems": _Node.prefix_items,
}
