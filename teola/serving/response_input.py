"""The input of `/v1/responses`: a text, or items that become the messages of a chat."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from backends.request_limits import MAX_PARTS
from teola.serving.chat_message import CalledFunction, Message
from teola.serving.fields import Fields

_PartType = Literal["input_text", "output_text", "text"]


class ContentPart(Fields):
    """A text; what a response said of it may come along."""

    type: _PartType
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


def _as_parts(value: object) -> object:
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    if not isinstance(value, list):
        raise ValueError("it must be a text or a list of parts")
    return value


Content = Annotated[
    list[ContentPart], BeforeValidator(_as_parts, json_schema_input_type=str | list[ContentPart])
]


class MessageItem(Fields):
    """One turn; an assistant's may be sent back as it came."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Content
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class CallItem(CalledFunction):
    """A call that the model made."""

    type: Literal["function_call"]
    call_id: str = Field(min_length=1)
    id: str | None = None
    status: str | None = None


class AnswerItem(Fields):
    """What a function gave."""

    type: Literal["function_call_output"]
    call_id: str = Field(min_length=1)
    output: Content
    id: str | None = None
    status: str | None = None


class ReasoningItem(Fields):
    """Of other servers: not shown to the model again."""

    type: Literal["reasoning"]
    id: str | None = None
    summary: list[Any] | None = None
    content: list[Any] | None = None
    encrypted_content: str | None = None
    status: str | None = None


def _kind(value: Any) -> Any:
    given = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "message" if given is None else given


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[CallItem, Tag("function_call")]
    | Annotated[AnswerItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")],
    Discriminator(_kind),
]


def _as_items(value: object) -> object:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


# A text is a user's message.
_Items = Annotated[list[Item], Field(min_length=1, max_length=MAX_PARTS // 4)]
Input = Annotated[_Items, BeforeValidator(_as_items, json_schema_input_type=str | _Items)]


def messages_of(instructions: str | None, items: Sequence[Any]) -> list[Message]:
    """The conversation. Calls join the assistant's message before them."""
    found: list[dict[str, Any]] = []
    if instructions is not None:
        found.append({"role": "system", "content": instructions})
    for item in items:
        _add(found, item)
    return [Message.model_validate(message) for message in found]


def _add(found: list[dict[str, Any]], item: object) -> None:
    if isinstance(item, MessageItem):
        found.append({"role": item.role, "content": _text(item.content)})
    elif isinstance(item, AnswerItem):
        about = {"tool_call_id": item.call_id, "content": _text(item.output)}
        found.append({"role": "tool", **about})
    elif isinstance(item, CallItem):
        if not found or found[-1]["role"] != "assistant":
            found.append({"role": "assistant", "content": ""})
        function = {"name": item.name, "arguments": item.arguments}
        calls = found[-1].setdefault("tool_calls", [])
        calls.append({"id": item.call_id, "type": "function", "function": function})


def _text(parts: Iterable[ContentPart]) -> str:
    return "".join(part.text for part in parts)
