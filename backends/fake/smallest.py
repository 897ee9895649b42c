"""The smallest document that fits a JSON schema."""

from collections.abc import Mapping
from typing import Any


def smallest(schema: Mapping[str, Any], defs: Mapping[str, Any], words: str) -> Any:
    """Strings are made of `words`; `defs` are what the schema refers to."""
    if "$ref" in schema:
        return smallest(defs[schema["$ref"].rsplit("/", 1)[-1]], defs, words)
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    if "anyOf" in schema:
        return smallest(schema["anyOf"][0], defs, words)
    match schema.get("type"):
        case "object":
            properties = schema.get("properties", {})
            return {n: smallest(s, defs, f"{words} {n}") for n, s in properties.items()}
        case "array":
            count = max(schema.get("minItems", 2), min(2, schema.get("maxItems", 2)))
            first, rest = schema.get("prefixItems", []), schema.get("items", {})
            each = [first[i] if i < len(first) else rest for i in range(count)]
            return [smallest(one, defs, f"{words} {i}") for i, one in enumerate(each)]
        case "integer" | "number":
            return min(max(0, schema.get("minimum", 0)), schema.get("maximum", 0))
        case "boolean":
            return False
        case "null":
            return None
        case _:
            return words[: schema.get("maxLength", len(words))]
