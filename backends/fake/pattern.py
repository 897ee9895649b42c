"""A text that a regular expression matches: the shortest, with the first of all choices."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from backends.errors import RequestRejected

_PARSER: Any = getattr(re, "_parser")  # noqa: B009 - private, and in tests' engines only
_OF_CLASS = {"CATEGORY_DIGIT": "0", "CATEGORY_WORD": "a", "CATEGORY_SPACE": " "}


def shortest_match(pattern: str) -> str:
    """Raises RequestRejected for what is no regular expression, or too much for this."""
    try:
        text = _text(_PARSER.parse(pattern))
    except (re.error, KeyError) as error:
        raise RequestRejected(
            f"the fake llm cannot follow the regex {pattern!r}: {error}"
        ) from error
    return text


def _text(parsed: Sequence[tuple[Any, Any]]) -> str:
    return "".join(_RULES[str(op)](value) for op, value in parsed)


def _one_of(items: Sequence[tuple[Any, Any]]) -> str:
    (op, value), *others = items
    if str(op) == "NEGATE":
        refused = "".join(_one_of([item]) for item in others)
        return next(char for char in "ax0 " if char not in refused)
    if str(op) == "RANGE":
        return chr(value[0])
    return _OF_CLASS[str(value)] if str(op) == "CATEGORY" else chr(value)


_RULES: dict[str, Callable[[Any], str]] = {
    "LITERAL": chr,
    "NOT_LITERAL": lambda code: "b" if code == ord("a") else "a",
    "ANY": lambda _: "a",
    "AT": lambda _: "",
    "IN": _one_of,
    "MAX_REPEAT": lambda value: _text(value[2]) * value[0],
    "MIN_REPEAT": lambda value: _text(value[2]) * value[0],
    "SUBPATTERN": lambda value: _text(value[3]),
    "BRANCH": lambda value: _text(value[1][0]),
}
