"""Messages of a chat, and the parts of a prompt that they become."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from backends.base import Part, Role, ToolCall, Turn
from backends.tool_calls.turn import ToolTurn, read_turn, turn_text
from teola.serving.fields import Fields
from teola.serving.prompt_parts import TextPart, joined
from teola.serving.tool_answers import in_order_of_calls


def _as_parts(value: object) -> object:
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    if not isinstance(value, list):
        raise ValueError("content must be a text or a list of parts")
    return value


Content = Annotated[
    list[TextPart], BeforeValidator(_as_parts, json_schema_input_type=str | list[TextPart])
]


class CalledFunction(Fields):
    """Which tool a call is of, and with what."""

    name: str = Field(min_length=1)
    arguments: str = ""  # JSON of an object; empty: of none

    @field_validator("arguments")
    @classmethod
    def _is_object(cls, value: str) -> str:
        try:
            said = json.loads(value or "{}")
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise ValueError("arguments must be the JSON of an object, as the model wrote it")
        return value or "{}"


class MadeCall(Fields):
    """A call of an assistant's message."""

    id: str = Field(min_length=1)
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = None  # of a stream's delta that is sent back
    provider_specific_fields: dict[str, Any] | None = None  # as of a message

    @property
    def call(self) -> ToolCall:
        return ToolCall(self.id, self.function.name, self.function.arguments)


class Message(Fields):
    """One turn of a conversation. Content may be left out beside tool calls."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    tool_calls: list[MadeCall] | None = None
    tool_call_id: str | None = None  # the call that a tool's message answers
    content: Content | None = Field(None, validate_default=True)
    name: str | None = None  # no template here writes it
    refusal: None = None  # an assistant's message may be sent back as it came
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None
    reasoning_content: str | None = None  # of other servers: not shown to the model again
    reasoning: str | None = None  # vLLM's newer name for it
    thinking_blocks: list[Any] | None = None  # litellm's, as the next one
    provider_specific_fields: dict[str, Any] | None = None
    logprobs: Any = None

    @field_validator("tool_calls", "tool_call_id")
    @classmethod
    def _is_in_its_place(cls, value: Any, info: ValidationInfo) -> Any:
        wanted = "assistant" if info.field_name == "tool_calls" else "tool"
        if value and info.data.get("role", wanted) != wanted:
            raise ValueError(f"only a message of role {wanted!r} has {info.field_name}")
        return value

    @field_validator("content")
    @classmethod
    def _is_there(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and not info.data.get("tool_calls"):
            raise PydanticCustomError("missing", "Field required")
        return value

    @property
    def engine_role(self) -> Role:
        return "system" if self.role == "developer" else self.role

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        return tuple(made.call for made in self.tool_calls or ())

    @property
    def parts(self) -> list[Part]:
        """The turn's markup by the engine, then the text: in one piece but for its chunks."""
        return [Turn(self.engine_role), *joined(self.content or ())]

    @property
    def parts_with_tools(self) -> list[Part]:
        """The same in a conversation with tools, where an assistant's turn has a form."""
        text = "".join(piece.text for piece in self.content or ())
        if self.role != "assistant" or not (self.calls or read_turn(text)):
            return self.parts
        return [Turn("assistant"), turn_text(ToolTurn(text, self.calls))]


def conversation(
    messages: Sequence[Message], opens_answer: bool, *, has_tools: bool = False
) -> list[Part]:
    """A conversation as the parts of a prompt; `opens_answer` writes the assistant's markup.

    Raises ApiError where calls and the answers of tools do not belong together.
    """
    found: list[Part] = []
    has_tools = has_tools or any(message.tool_calls for message in messages)
    for message in in_order_of_calls(messages):
        found += message.parts_with_tools if has_tools else message.parts
    return [*found, Turn("assistant")] if opens_answer else found
