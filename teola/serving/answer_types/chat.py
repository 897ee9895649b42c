"""Chat completions."""

from typing import Literal, NotRequired

from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from backends.base import FinishReason
from teola.serving.answer_types.usage import Usage


class ChatToken(TypedDict):
    """A token and its log-probability."""

    token: str
    logprob: float | None
    bytes: list[int]


class ToldChatToken(ChatToken):
    """A token of the answer with the likeliest in its place."""

    top_logprobs: list[ChatToken]


class ChatLogprobs(TypedDict):
    """Of the text's tokens."""

    content: list[ToldChatToken]
    refusal: None


class FunctionCall(TypedDict):
    """A call; `arguments` is JSON."""

    name: str
    arguments: str


class ToolCallAnswer(TypedDict):
    """A call of a tool."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class ChatMessageAnswer(TypedDict):
    """The model's turn."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: NotRequired[list[ToolCallAnswer]]


class ChatChoice(TypedDict):
    """One answer; the last two fields with `return_token_ids`."""

    index: int
    message: ChatMessageAnswer
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None
    token_ids: NotRequired[list[int]]
    stop_reason: NotRequired[str | int | None]


class ChatAnswer(TypedDict):
    """A chat completion."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class ToolCallDelta(ToolCallAnswer):
    """A whole call of a stream; `index` is its number."""

    index: int


class ChatDelta(TypedDict):
    """What is new of a turn."""

    role: NotRequired[Literal["assistant"]]
    content: NotRequired[str]
    tool_calls: NotRequired[list[ToolCallDelta]]


class ChatChunkChoice(TypedDict):
    """What is new of one answer; the last two fields with `return_token_ids`."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None
    token_ids: NotRequired[list[int]]
    stop_reason: NotRequired[str | int | None]


class ChatChunk(TypedDict):
    """An event of a chat; `usage` where it was asked for, at last with the tokens."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: NotRequired[Usage | None]
