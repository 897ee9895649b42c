"""How many tokens the longest answer of a JSON schema takes, where the schema bounds it.

A token stands for a character or more, but for scripts and escapes of which a character takes
several; a text is given room for two. Decoding writes JSON as `json.dumps` does.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from graph_opt.graph import Json

TOKENS_PER_CHAR = 2  # of a text
FRACTION_CHARS = 12  # of a number: the point and the digits that `schema.py` allows behind it
MOST = 1 << 14  # more is as good as unbounded
_FORMAT_CHARS = {"date": 10, "time": 24, "date-time": 40, "uuid": 36, "ipv4": 15, "ipv6": 45}


def enough_tokens(schema: Json) -> int | None:
    """Tokens in which any answer of the schema has room; None if it may be of any length."""
    found = _Longest(schema).of(schema, ())
    return int(found) if found < MOST else None


class _Longest:
    def __init__(self, root: Json) -> None:
        self._definitions = root.get("$defs", {}) if isinstance(root, dict) else {}

    def of(self, schema: Any, inside: tuple[str, ...]) -> float:
        """The length of the longest answer, or infinity."""
        if not isinstance(schema, dict):
            return math.inf
        if "$ref" in schema:
            return self._of_reference(str(schema["$ref"]), inside)
        if "const" in schema or "enum" in schema:
            values = schema["enum"] if "enum" in schema else [schema["const"]]
            return max((len(json.dumps(value).encode()) for value in values), default=0)
        for several in ("anyOf", "oneOf"):
            if several in schema:
                return max(self.of(one, inside) for one in schema[several])
        if isinstance(schema.get("type"), list):
            return max(self.of({**schema, "type": one}, inside) for one in schema["type"])
        return self._of_type(schema, inside)

    def _of_reference(self, reference: str, inside: tuple[str, ...]) -> float:
        name = reference.rsplit("/", 1)[-1]
        if name in inside or not isinstance(self._definitions, dict):
            return math.inf  # it holds itself
        return self.of(self._definitions.get(name), (*inside, name))

    def _of_type(self, schema: Mapping[str, Any], inside: tuple[str, ...]) -> float:
        match schema.get("type"):
            case "string":
                return 2 + TOKENS_PER_CHAR * _text_chars(schema)
            case "integer":
                return _digits(schema)
            case "number":
                return _digits(schema) + (FRACTION_CHARS if "multipleOf" in schema else math.inf)
            case "boolean" | "null":
                return 5
            case "array":
                return self._of_array(schema, inside)
            case "object":
                return self._of_object(schema, inside)
            case _:
                return math.inf

    def _of_array(self, schema: Mapping[str, Any], inside: tuple[str, ...]) -> float:
        first = [self.of(one, inside) + 2 for one in schema.get("prefixItems", ())]
        more = schema.get("maxItems", len(first) if first else math.inf) - len(first)
        rest = more * (self.of(schema.get("items"), inside) + 2) if more > 0 else 0
        return float(2 + sum(first) + rest)

    def _of_object(self, schema: Mapping[str, Any], inside: tuple[str, ...]) -> float:
        if schema.get("additionalProperties") is not False or "patternProperties" in schema:
            return math.inf
        properties = schema.get("properties", {})
        return 2 + sum(
            len(json.dumps(name).encode()) + 4 + self.of(one, inside)
            for name, one in properties.items()
        )


def _text_chars(schema: Mapping[str, Any]) -> float:
    known = _FORMAT_CHARS.get(str(schema.get("format")), math.inf)
    return float(min(known, schema.get("maxLength", math.inf)))


def _digits(schema: Mapping[str, Any]) -> float:
    least = schema.get("minimum", schema.get("exclusiveMinimum", -math.inf))
    most = schema.get("maximum", schema.get("exclusiveMaximum", math.inf))
    largest = max(abs(least), abs(most))
    return math.inf if math.isinf(largest) else len(str(int(largest))) + (least < 0)
