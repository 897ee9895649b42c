"""The fields that hold an answer to a form, under OpenAI's names, ours and vLLM's."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from backends.request_limits import MAX_CHOICES, MAX_REGEX_CHARS
from teola.serving.api_errors import invalid
from teola.serving.fields import Fields


def _is_object(value: str) -> str:
    try:
        is_object = isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise ValueError("a schema that is a text must be the JSON of an object")
    return value


SchemaText = Annotated[str, AfterValidator(_is_object)]


class JsonSchema(Fields):
    """What a JSON answer must look like."""

    name: str = ""
    description: str | None = None
    json_schema: dict[str, Any] = Field(default={}, alias="schema")
    strict: bool | None = None  # decoding is held to the schema either way


class ResponseFormat(Fields):
    """Text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_schema(self) -> "ResponseFormat":
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema is given with type 'json_schema', and only then")
        return self

    @property
    def schema_text(self) -> str | None:
        """A JSON schema, as JSON; None for plain text."""
        if self.type == "text":
            return None
        schema = self.json_schema.json_schema if self.json_schema else {"type": "object"}
        return json.dumps(schema)


class StructuredOutputs(Fields):
    """vLLM's name for the form of an answer."""

    json_schema: dict[str, Any] | SchemaText | None = Field(None, alias="json")
    json_object: bool = False
    regex: str | None = Field(None, max_length=MAX_REGEX_CHARS)
    choice: list[str] | None = Field(None, min_length=1, max_length=MAX_CHOICES)

    @property
    def schema_text(self) -> str | None:
        """A JSON schema, as JSON; None for none."""
        return '{"type": "object"}' if self.json_object else as_json(self.json_schema)


class HasStructure(Fields):
    """A body whose answer may have a form: one, under one name."""

    response_format: ResponseFormat | None = None
    regex: str | None = Field(None, max_length=MAX_REGEX_CHARS)
    choices: list[str] | None = Field(None, min_length=1, max_length=MAX_CHOICES)
    guided_json: dict[str, Any] | SchemaText | None = None  # vLLM's, as the next three
    guided_regex: str | None = Field(None, max_length=MAX_REGEX_CHARS)
    guided_choice: list[str] | None = Field(None, min_length=1, max_length=MAX_CHOICES)
    structured_outputs: StructuredOutputs | None = None

    @model_validator(mode="after")
    def _one_structure(self) -> "HasStructure":
        if len(self._structures) > 1:
            why = "give one of response_format, regex and choices, under one name"
            raise invalid(self._structures[1][1], why)
        return self

    @property
    def structure(self) -> Mapping[str, Any]:
        """The attribute of a decode; none for free text."""
        return {name: value for name, _, value in self._structures}

    @property
    def form_field(self) -> str:
        """The field by which the client gave the form; "" for free text."""
        return self._structures[0][1] if self._structures else ""

    @property
    def _structures(self) -> list[tuple[str, str, Any]]:
        """Attribute, field and value of what was given."""
        ours, theirs = self.response_format, self.structured_outputs
        given = [
            ("schema", "response_format", ours.schema_text if ours else None),
            ("schema", "guided_json", as_json(self.guided_json)),
            ("schema", "structured_outputs", theirs.schema_text if theirs else None),
            ("regex", "regex", self.regex),
            ("regex", "guided_regex", self.guided_regex),
            ("regex", "structured_outputs", theirs.regex if theirs else None),
            ("choices", "choices", self.choices),
            ("choices", "guided_choice", self.guided_choice),
            ("choices", "structured_outputs", theirs.choice if theirs else None),
        ]
        return [form for form in given if form[2] is not None]


def as_json(schema: dict[str, Any] | str | None) -> str | None:
    """A schema that may be a text already."""
    return schema if schema is None or isinstance(schema, str) else json.dumps(schema)
