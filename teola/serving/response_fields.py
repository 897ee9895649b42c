"""The body of `/v1/responses`. Nothing is kept here: a client sends the whole conversation."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from backends.base import Part
from backends.request_limits import MAX_NAME_CHARS, MAX_TOOLS
from teola.serving.api_errors import ApiError, invalid
from teola.serving.chat_message import Message, conversation
from teola.serving.decode_fields import StreamOptions
from teola.serving.fields import INT_END, Fields
from teola.serving.response_input import Input, messages_of
from teola.serving.tool_fields import FunctionFields, has_tools, tool_attrs

_LOGPROBS = "message.output_text.logprobs"
_FALSE, _NONE = WithJsonSchema({"const": False}), WithJsonSchema({"type": "null"})
_STATELESS = "nothing is stored here: send the whole conversation as input"


class FunctionTool(FunctionFields):
    """A tool; there are functions only."""

    type: Literal["function"]

    @model_validator(mode="before")
    @classmethod
    def _is_function(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("type") != "function":
            raise ValueError(f"there are tools of type 'function' only, not {value.get('type')!r}")
        return value


class NamedFunction(Fields):
    """The function that must be called."""

    type: Literal["function"]
    name: str


class Format(Fields):
    """Text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str = ""
    description: str | None = None
    json_schema: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None  # decoding is held to the schema either way

    @field_validator("json_schema")
    @classmethod
    def _goes_with_its_type(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("type") != "json_schema":
            raise ValueError("a schema is given with type 'json_schema'")
        return value

    @property
    def schema_text(self) -> str | None:
        """A JSON schema, as JSON; None for plain text."""
        if self.type == "text":
            return None
        return json.dumps(self.json_schema or {"type": "object"})


class TextOptions(Fields):
    """The form of an answer."""

    format: Format = Format(schema=None)
    verbosity: str | None = None  # read and not used: the prompt says how long an answer is


class ResponseFields(Fields):
    """The fields that a model here has a use for, and those that must not pass in silence."""

    derived = ("parts",)

    model: str | None = None
    input: Input
    instructions: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_output_tokens: int | None = Field(None, ge=1, lt=INT_END)
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    top_logprobs: int | None = Field(None, ge=0, le=20)
    include: list[str] | None = None
    text: TextOptions = TextOptions()
    tools: list[FunctionTool] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | NamedFunction | None = None
    parallel_tool_calls: bool = True
    metadata: dict[str, str] | None = None
    cache_salt: str | None = Field(None, min_length=1, max_length=MAX_NAME_CHARS)
    store: Annotated[bool, _FALSE] = False
    background: Annotated[bool, _FALSE] = False
    previous_response_id: Annotated[str | None, _NONE] = None
    conversation: Annotated[Any, _NONE] = None
    prompt: Annotated[Any, _NONE] = None
    truncation: Annotated[Literal["disabled", "auto"], WithJsonSchema({"const": "disabled"})] = (
        "disabled"
    )
    reasoning: dict[str, Any] | None = None  # read and not used: models here do not reason apart

    @field_validator("store", "background", "previous_response_id", "conversation", "prompt")
    @classmethod
    def _is_stateless(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and value is not cls.model_fields[str(info.field_name)].default:
            raise ValueError(f"{info.field_name} is not supported: {_STATELESS}")
        return value

    @field_validator("truncation")
    @classmethod
    def _cuts_nothing(cls, value: str) -> str:
        if value == "auto":
            raise ValueError("inputs are not cut here: send what fits the context")
        return value

    _has_tools = field_validator("tool_choice")(has_tools)

    @cached_property
    def messages(self) -> Sequence[Message]:
        return messages_of(self.instructions, self.input)

    @cached_property
    def parts(self) -> list[Part]:
        try:
            return conversation(self.messages, opens_answer=True, has_tools=bool(self.tools))
        except ApiError as error:
            raise invalid("input", f"input: {error.message}") from None

    @property
    def wants_logprobs(self) -> bool:
        return self.top_logprobs is not None or _LOGPROBS in (self.include or ())

    def attrs(self, max_tokens: int) -> Mapping[str, Any]:
        """Attributes of a decode; those that say nothing are left out."""
        found = {
            "max_tokens": self.max_output_tokens or max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p if self.top_p < 1 else None,
            "schema": self.text.format.schema_text,
            "logprobs": (self.top_logprobs or 0) if self.wants_logprobs else None,
        }
        return {name: value for name, value in found.items() if value is not None}

    @property
    def tool_attrs(self) -> dict[str, Any]:
        """Attributes of prefill and decode."""
        choice = self.tool_choice
        named = choice.name if isinstance(choice, NamedFunction) else choice
        return tool_attrs(self.tools or (), named, self.parallel_tool_calls, self.messages)
