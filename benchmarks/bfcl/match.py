"""BFCL's AST rules: whether a call is one of those that a case takes for right.

Written after `ast_checker.py` of bfcl-eval 2026.3.23, for Python functions. An answer names the
functions and, for each parameter, the values that are right; "" among them means that the
parameter may be left out. Several calls may come in any order. Types are exact (an int may stand
for a float), texts are compared without case, spaces and the signs `, . / - _ * ^`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Any
Function = Mapping[str, Any]  # name, description, parameters
Options = Sequence[Json]  # the values that are right for a parameter

TYPES: Mapping[str, type] = {
    "string": str,
    "integer": int,
    "float": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
    "any": str,
}
IGNORED = re.compile(r"[ ,./\-_*^]")


@dataclass(frozen=True, slots=True)
class Call:
    """What a model called."""

    name: str
    arguments: Mapping[str, Json]


def mismatch(
    calls: Sequence[Call], functions: Sequence[Function], answer: Sequence[Mapping[str, Any]]
) -> str | None:
    """Why the calls are wrong; None if they are right."""
    if len(calls) != len(answer):
        return f"{len(calls)} calls instead of {len(answer)}"
    left = list(calls)
    for expected in answer:
        problems = [_call_mismatch(call, functions, expected) for call in left]
        if None not in problems:
            return problems[0] if len(calls) == 1 else f"no call is {expected!r}"
        del left[problems.index(None)]  # the first that is right, as the leaderboard takes it
    return None


def _call_mismatch(
    call: Call, functions: Sequence[Function], expected: Mapping[str, Any]
) -> str | None:
    ((name, allowed),) = expected.items()
    if call.name != name:
        return f"called {call.name!r} instead of {name!r}"
    function = next(each for each in functions if each["name"] == name)
    return _arguments_mismatch(call.arguments, function["parameters"], allowed)


def _arguments_mismatch(
    arguments: Mapping[str, Json], parameters: Mapping[str, Any], allowed: Mapping[str, Options]
) -> str | None:
    missing = [name for name in parameters["required"] if name not in arguments]
    missing += [n for n, options in allowed.items() if n not in arguments and "" not in options]
    if missing:
        return f"without {missing[0]!r}"
    for name, value in arguments.items():
        if name not in parameters["properties"] or name not in allowed:
            return f"with {name!r}, which is not expected"
        problem = _value_mismatch(value, parameters["properties"][name], allowed[name])
        if problem is not None:
            return f"{name!r}: {problem}"
    return None


def _value_mismatch(value: Json, schema: Mapping[str, Any], options: Options) -> str | None:
    expected = TYPES[schema["type"]]
    inner = TYPES[schema["items"]["type"]] if expected is list else None
    if schema["type"] == "float" and type(value) is int:
        value = float(value)
    kind, stated = type(value), _type_of(options)
    if not _fits(value, expected, inner, options):
        return f"{value!r} is not of type {schema['type']}"
    if kind is not expected or stated not in (None, expected):
        is_right = value in options  # a variable's name in place of a value
    elif expected is dict:
        is_right = any(_same_dict(value, option) for option in options if option != "")
    elif inner is dict:
        is_right = any(_same_dicts(value, option) for option in options)
    elif expected is list:
        is_right = _texts(value) in [_texts(option or []) for option in options]
    else:
        is_right = _plain(value) in _texts(options)
    return None if is_right else f"{value!r} is none of {list(options)!r}"


def _fits(value: Json, expected: type, inner: type | None, options: Options) -> bool:
    """Of the described type, or of the type that the answer states for it."""
    kind = type(value)
    if kind is not expected:
        return kind is _type_of(options)
    return inner is None or any(_items_fit(value, inner, option) for option in options)


def _items_fit(items: Sequence[Json], inner: type, option: Json) -> bool:
    return not isinstance(option, list) or all(
        type(item) in (inner, _type_of(option)) for item in items
    )


def _type_of(options: Options) -> type | None:
    return next((type(option) for option in options if option != ""), None)


def _plain(value: Json) -> Json:
    """The value as it is compared."""
    return IGNORED.sub("", value).lower().replace("'", '"') if isinstance(value, str) else value


def _texts(items: Sequence[Json]) -> list[Json]:
    return [_plain(item) for item in items]


def _same_dict(value: Mapping[str, Json], answer: Mapping[str, Options]) -> bool:
    """Each key with one of its values; none is left out that may not be."""
    if not all(key in value or "" in options for key, options in answer.items()):
        return False
    return all(key in answer and _plain(item) in _texts(answer[key]) for key, item in value.items())


def _same_dicts(values: Sequence[Json], answers: Sequence[Mapping[str, Options]]) -> bool:
    return len(values) == len(answers) and all(map(_same_dict, values, answers))
