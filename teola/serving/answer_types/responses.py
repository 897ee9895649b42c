"""Responses, as OpenAI has them: the answer, its items and its events."""

from typing import Any, Literal

from pydantic import ConfigDict
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from teola.serving.answer_types.chat import ToldChatToken


class ResponseText(TypedDict):
    """The text of a message."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[ToldChatToken]


class ResponseMessage(TypedDict):
    """A message of the model."""

    id: str
    type: Literal["message"]
    status: str
    role: Literal["assistant"]
    content: list[ResponseText]


class ResponseCall(TypedDict):
    """A call of a function; `arguments` is JSON."""

    id: str
    type: Literal["function_call"]
    status: str
    call_id: str
    name: str
    arguments: str


class IncompleteDetails(TypedDict):
    """Why a response is incomplete."""

    reason: Literal["max_output_tokens"]


class ResponseUsage(TypedDict):
    """The tokens of a response."""

    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int


class ResponseAnswer(TypedDict):
    """A response: what was asked for, and the output."""

    id: str
    object: Literal["response"]
    created_at: int
    model: str
    status: Literal["completed", "incomplete"]
    incomplete_details: IncompleteDetails | None
    output: list[ResponseMessage | ResponseCall]
    usage: ResponseUsage
    background: bool
    error: None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    previous_response_id: None
    reasoning: dict[str, Any]
    store: bool
    temperature: float
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float
    truncation: str


class ResponseEvent(TypedDict):
    """An event of a response, with more fields by its type."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    type: str
    sequence_number: int
