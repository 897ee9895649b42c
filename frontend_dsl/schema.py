"""The JSON schema of a declared output type, or one that was given."""

from collections.abc import Mapping
from typing import Any, cast

from graph_opt.graph import Json
from graph_opt.verify import is_json

MOST_DIGITS = 18  # of a whole number whose type says no limit: a model could write without end
STEP = 1e-9  # of a number: no more than nine digits behind the point
LARGEST = 10**MOST_DIGITS - 1

_LIMITS = {
    "minimum": ("minimum", "exclusiveMinimum"),
    "maximum": ("maximum", "exclusiveMaximum"),
}


def json_schema(type_: Any) -> dict[str, Json]:
    """The schema that decoding is held to. Raises TypeError for a type without one."""
    from pydantic import TypeAdapter  # late: it would double teola's import time

    try:
        schema = TypeAdapter(type_).json_schema()
    except Exception as error:  # pydantic's own, and what a type of the user's raises
        reason = str(error).strip().partition("\n")[0]
        raise TypeError(f"out={type_!r} has no JSON schema: {reason}") from error
    return cast(dict[str, Json], _bounded(_closed(_without_titles(schema))))


def parameters_schema(model: Any) -> dict[str, Json]:
    """The schema of a tool's arguments, the fields of a model. Raises TypeError without one."""
    try:
        schema = model.model_json_schema()
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise TypeError(f"the tool {model.__name__}() has no JSON schema: {reason}") from error
    return cast(dict[str, Json], _closed(_without_titles(schema)))


def given_schema(schema: Mapping[str, Any]) -> dict[str, Json]:
    """A schema that the user wrote. Raises TypeError for what is none."""
    known = {"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "properties", "items"}
    copied = dict(schema)
    if not is_json(copied) or not known & copied.keys():
        problem = "it must be JSON and say a type, properties, items, an enum or the like"
        raise TypeError(f"out={schema!r} is no JSON schema: {problem}")
    return cast(dict[str, Json], _bounded(copied))


def _bounded(schema: Any) -> Any:
    """Numbers with so many digits at most, unless their type has limits of its own."""
    if isinstance(schema, list):
        return [_bounded(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") in ("integer", "number"):
        return _with_limits(schema)
    return {
        key: value if key in ("const", "enum", "default", "examples") else _bounded(value)
        for key, value in schema.items()
    }


def _with_limits(schema: dict[str, Any]) -> dict[str, Any]:
    if "enum" in schema or "const" in schema:
        return schema
    limits = {"minimum": -LARGEST, "maximum": LARGEST}
    missing = {
        name: limit
        for name, limit in limits.items()
        if not any(one in schema for one in _LIMITS[name])
    }
    own = [abs(schema[one]) for ones in _LIMITS.values() for one in ones if one in schema]
    if schema["type"] == "number" and all(limit == 0 or limit >= 1e-3 for limit in own):
        missing |= {"multipleOf": STEP} if "multipleOf" not in schema else {}
    return {**schema, **missing}


def _without_titles(schema: Any) -> Any:
    """The titles that pydantic makes from names say nothing that the names do not."""
    if isinstance(schema, list):
        return [_without_titles(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _without_titles(item) for name, item in value.items()}
        if key in ("properties", "$defs")
        else _without_titles(value)
        for key, value in schema.items()
        if key != "title" or not isinstance(value, str)
    }


def _closed(schema: Any) -> Any:
    """No keys beside the declared ones, unless the type allows them: a model would invent some."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed
