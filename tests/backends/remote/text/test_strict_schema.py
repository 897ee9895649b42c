"""Schemas by the rules of OpenAI's strict mode."""

from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel, TypeAdapter

from backends.remote.strict_schema import NotStrict, strict_schema


class Place(BaseModel):
    name: str
    height_m: int | None = None


class Trip(BaseModel):
    places: list[Place]
    note: str = "none"


def test_every_property_is_required_and_no_other_allowed_at_every_depth() -> None:
    assert strict_schema(TypeAdapter(Trip).json_schema()) == {
        "type": "object",
        "title": "Trip",
        "properties": {
            "places": {"type": "array", "title": "Places", "items": {"$ref": "#/$defs/Place"}},
            "note": {"type": "string", "title": "Note"},
        },
        "required": ["places", "note"],
        "additionalProperties": False,
        "$defs": {
            "Place": {
                "type": "object",
                "title": "Place",
                "properties": {
                    "name": {"type": "string", "title": "Name"},
                    "height_m": {
                        "title": "Height M",
                        "anyOf": [{"type": "integer"}, {"type": "null"}],
                    },
                },
                "required": ["name", "height_m"],
                "additionalProperties": False,
            }
        },
    }


def test_what_is_right_by_the_strict_schema_is_right_by_the_given_one() -> None:
    given = TypeAdapter(Trip).json_schema()
    answer = {"places": [{"name": "Bern", "height_m": None}], "note": "x"}
    jsonschema.validate(answer, strict_schema(given))
    jsonschema.validate(answer, given)


def test_limits_that_strict_mode_lacks_are_told_in_the_description() -> None:
    text = {"type": "string", "description": "A name", "maxLength": 9, "minLength": 2}
    found = strict_schema({"type": "object", "properties": {"name": text}})
    assert found["properties"]["name"] == {
        "type": "string",
        "description": "A name (maxLength: 9) (minLength: 2)",
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "integer"}},
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {"a": True}},
        {"type": "object", "properties": {"a": {"not": {"type": "string"}}}},
        {"type": "object", "properties": {"a": {"type": "object", "properties": {}}}},
        {"anyOf": [{"type": "object", "properties": {"a": {"type": "null"}}}]},
    ],
)
def test_what_strict_mode_cannot_say_is_told(schema: dict[str, Any]) -> None:
    with pytest.raises(NotStrict):
        strict_schema(schema)
