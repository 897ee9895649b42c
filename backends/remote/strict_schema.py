"""A JSON schema by the rules of OpenAI's strict mode, which holds the model to it.

Strict mode wants an object at the root, each property required and no other allowed. What that
narrows stays an answer of the given schema. Limits that it does not know go into the description,
where the model reads them; the answer is checked against the given schema in any case.
"""

from collections.abc import Mapping
from typing import Any

# Keywords that say nothing of which values are right, or that strict mode enforces.
_KEPT = frozenset(
    (
        "type",
        "enum",
        "const",
        "title",
        "description",
        "pattern",
        "format",
        "multipleOf",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minItems",
        "maxItems",
        "$ref",
    )
)
_LIMITS = frozenset(("minLength", "maxLength", "uniqueItems"))  # told, and checked afterwards
_SAYS_NOTHING = frozenset(("default", "examples", "$schema", "$id", "$comment", "deprecated"))


class NotStrict(Exception):
    """Strict mode has no such schema."""


def strict_schema(schema: Any) -> dict[str, Any]:
    """The schema of an object in strict form. Raises NotStrict."""
    if not isinstance(schema, Mapping) or schema.get("type") != "object":
        raise NotStrict("the root is no object")
    found = _strict(schema)
    for name in ("$defs", "definitions"):
        if name in schema:
            found[name] = {key: _strict(value) for key, value in schema[name].items()}
    return found


def _strict(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        raise NotStrict("a schema that is true or false")
    found = {key: value for key, value in schema.items() if key in _KEPT}
    for key, value in schema.items():
        if key == "items":
            found[key] = _strict(value)
        elif key in ("anyOf", "oneOf"):
            found["anyOf"] = [_strict(one) for one in value]
        elif key in _LIMITS:
            found["description"] = f"{found.get('description', '')} ({key}: {value})".lstrip()
        elif key not in _KEPT | _SAYS_NOTHING | _OF_OBJECTS:
            raise NotStrict(f"it has {key}")
    if schema.get("type") == "object":
        found |= _closed(schema)
    return found


_OF_OBJECTS = frozenset(("properties", "required", "additionalProperties", "$defs", "definitions"))


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties")
    if not properties or schema.get("additionalProperties", False) is not False:
        raise NotStrict("an object with keys of any name")
    strict = {name: _strict(value) for name, value in properties.items()}
    return {"properties": strict, "required": list(properties), "additionalProperties": False}
