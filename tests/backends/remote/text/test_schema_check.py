"""Our check of answers against the reference implementation of JSON Schema."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.remote.schema_check import first_fault

names = st.sampled_from(["a", "b", "c"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.text("xy1", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
small = st.integers(0, 3)
numbers = st.fixed_dictionaries(
    {"type": st.sampled_from(["integer", "number"])},
    optional={
        "minimum": st.integers(-4, 4),
        "maximum": st.integers(-4, 4),
        "exclusiveMinimum": st.integers(-4, 4),
        "exclusiveMaximum": st.integers(-4, 4),
        "multipleOf": st.integers(1, 3),
    },
)
strings = st.fixed_dictionaries(
    {"type": st.just("string")},
    optional={"minLength": small, "maxLength": small, "pattern": st.sampled_from(["^x", "[0-9]"])},
)
type_lists = st.lists(st.sampled_from(["null", "boolean", "array"]), min_size=1, unique=True)
leaves = (
    numbers
    | strings
    | st.fixed_dictionaries({"enum": st.lists(values, min_size=1, max_size=3)})
    | st.fixed_dictionaries({"const": values})
    | st.fixed_dictionaries(
        {"type": st.lists(st.sampled_from(["null", "boolean", "array"]), min_size=1, unique=True)}
    )
    | st.booleans()
    | st.just({"$ref": "#/$defs/shared"})
)


def composed(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    arrays = st.fixed_dictionaries(
        {"type": st.just("array")},
        optional={
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "minItems": small,
            "maxItems": small,
            "uniqueItems": st.booleans(),
        },
    )
    objects = st.fixed_dictionaries(
        {"type": st.just("object")},
        optional={
            "properties": st.dictionaries(names, inner, max_size=3),
            "required": st.lists(names, unique=True),
            "additionalProperties": inner,
            "minProperties": small,
            "maxProperties": small,
        },
    )
    several = st.lists(inner, min_size=1, max_size=3)
    joined = st.sampled_from(["anyOf", "oneOf", "allOf"]).flatmap(
        lambda name: st.fixed_dictionaries({name: several})
    )
    return arrays | objects | joined


schemas = st.recursive(leaves, composed, max_leaves=6)


@settings(deadline=None)
@given(schemas, schemas, values)
def test_a_value_is_right_where_the_reference_says_so(schema: Any, shared: Any, value: Any) -> None:
    if "$ref" in json.dumps(shared):
        shared = True
    whole = {"allOf": [schema], "$defs": {"shared": shared}}
    is_right = jsonschema.Draft202012Validator(whole).is_valid(value)
    assert (first_fault(value, whole) is None) == is_right, first_fault(value, whole)


@pytest.mark.parametrize(
    ("value", "schema", "fault"),
    [
        (
            {"a": {"b": [1, "x"]}},
            {"properties": {"a": {"properties": {"b": {"items": {"type": "integer"}}}}}},
            "a: b: [1]: 'x' is not of type integer",
        ),
        ({"c": 1}, {"properties": {}, "additionalProperties": False}, "it has no key 'c'"),
        ({}, {"required": ["name"]}, "'name' is missing"),
        (True, {"enum": [1]}, "True is none of [1]"),
        ("x" * 99, {"maxLength": 3}, "longer than 3"),
    ],
)
def test_a_fault_says_what_and_where(value: Any, schema: Any, fault: str) -> None:
    assert fault in str(first_fault(value, schema))


def test_a_schema_that_refers_to_itself_is_followed_as_deep_as_the_value() -> None:
    schema = {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["next"],
    }
    assert first_fault({"next": {"next": None}}, schema) is None
    assert first_fault({"next": {"next": 1}}, schema) is not None
    assert first_fault(1, {"$ref": "#"}) is None


def test_a_pattern_that_python_cannot_read_is_not_held_against_the_answer() -> None:
    assert first_fault("x", {"pattern": r"\p{L}+"}) is None
