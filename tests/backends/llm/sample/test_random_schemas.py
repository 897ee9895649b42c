"""Whatever a model prefers, whatever the schema: what it writes is valid by another's validator."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

NUM_SCHEMAS = 200
PATTERNS = ("^[a-z]{2,6}$", "^[A-Z][0-9]{3}$", "^(red|green)-[0-9]+$", "^[a-f0-9]{8}$")
NAMES = ("id", "name", "kind", "size", "tags", "next", "is_on", "note é", 'a "b"', "long_key_name")
Schema = dict[str, Any]


def random_schema(seed: int) -> Schema:
    make = random.Random(seed)
    schema = random_object(make, depth=3)
    schema["$defs"] = {"leaf": random_leaf(make), "pair": random_object(make, depth=1)}
    schema["$defs"]["tree"] = {  # it refers to itself
        "type": "object",
        "properties": {"value": {"$ref": "#/$defs/leaf"}, "child": {"$ref": "#/$defs/tree"}},
        "required": ["value"],
        "additionalProperties": False,
    }
    return schema


def random_value(make: random.Random, depth: int) -> Schema:
    if depth == 0 or make.random() < 0.3:
        return random_leaf(make)
    kind = make.choice(("object", "array", "tuple", "anyOf", "ref"))
    if kind == "object":
        return random_object(make, depth - 1)
    if kind == "array":
        least = make.randint(0, 2)
        bounds = {"minItems": least, "maxItems": least + make.randint(0, 2)}
        return {"type": "array", "items": random_value(make, depth - 1), **bounds}
    if kind == "tuple":
        items = [random_value(make, depth - 1) for _ in range(2)]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": 2}
    if kind == "anyOf":
        return {"anyOf": [random_value(make, depth - 1) for _ in range(make.randint(2, 3))]}
    return {"$ref": f"#/$defs/{make.choice(('leaf', 'pair', 'tree'))}"}


def random_object(make: random.Random, depth: int) -> Schema:
    names = make.sample(NAMES, make.randint(1, 4))
    return {
        "type": "object",
        "properties": {name: random_value(make, depth) for name in names},
        "required": [name for name in names if make.random() < 0.7],
        "additionalProperties": False,
    }


def random_leaf(make: random.Random) -> Schema:
    low = make.randint(-50, 50)
    return make.choice(
        (
            {"type": "integer", "minimum": low, "maximum": low + make.randint(0, 500)},
            {"type": "integer", "exclusiveMinimum": low, "exclusiveMaximum": low + 7},
            {"type": "integer", "minimum": 0, "maximum": 1000, "multipleOf": make.choice((5, 7))},
            {"type": "number", "minimum": low / 4, "maximum": low / 4 + 2.5},
            {"type": "string", "minLength": 1, "maxLength": make.randint(1, 12)},
            {"type": "string", "pattern": make.choice(PATTERNS)},
            {"type": "string", "format": make.choice(("date", "uuid", "ipv4"))},
            {"enum": make.sample(["a", "b", 'say "é"', 1, 2.5, True, None, [1, "x"]], 3)},
            {"const": make.choice(["fixed", 7, None])},
            {"type": "boolean"},
            {"type": "null"},
            {"type": ["integer", "null"], "minimum": 0, "maximum": 9},
        )
    )


@pytest.fixture(scope="module")
def outputs(load_tiny: Callable[..., Any]) -> list[Any]:
    """One result a schema, from a random model that draws at temperature 1."""
    driver = load_tiny(max_position_embeddings=4096).driver(kv_tokens=32_768)
    context = driver.prefill(None, "abc")
    attrs = {"temperature": 1.0, "max_tokens": 1500}
    ids = [
        driver.submit("decode", context, schema=random_schema(seed), seed=seed, **attrs)
        for seed in range(NUM_SCHEMAS)
    ]
    return driver.run(*ids)


def test_every_finished_output_is_valid(outputs: list[Any]) -> None:
    finished = 0
    for seed, result in enumerate(outputs):
        if result.finish_reason != "stop":
            continue
        schema = random_schema(seed)
        Draft202012Validator.check_schema(schema)
        Draft202012Validator(schema).validate(json.loads(result.outputs[0]))
        finished += 1
    assert finished >= NUM_SCHEMAS * 0.95


def test_most_tokens_of_structured_output_are_forced(outputs: list[Any]) -> None:
    sampled = sum(result.usage.decode_tokens for result in outputs)
    forced = sum(result.usage.forced_tokens for result in outputs)
    assert forced > sampled
