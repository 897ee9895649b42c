"""What the routes answer, as types for the OpenAPI document. The tests hold answers to them."""

from typing import Any, Literal, NotRequired

from pydantic import ConfigDict
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from backends.base import FinishReason, FusionReport
from backends.fusion_profile import FusionProfile
from backends.served import Limit


class PromptDetails(TypedDict):
    """Of the prompt's tokens."""

    cached_tokens: int
    fused_tokens: NotRequired[int]


class ServedUsage(TypedDict):
    """How the engine's steps served a request; what is 0 or empty is left out."""

    queued_s: NotRequired[float]
    num_steps: NotRequired[int]
    first_step: NotRequired[int]
    last_step: NotRequired[int]
    num_chunks: NotRequired[int]
    largest_chunk: NotRequired[int]
    num_paused: NotRequired[int]
    paused_s: NotRequired[float]
    num_preempted: NotRequired[int]
    preempted_by: NotRequired[str]
    limits: NotRequired[list[tuple[Limit, float]]]
    behind: NotRequired[list[tuple[str, float]]]


class Usage(TypedDict):
    """The tokens of a request; `fusion` with KV cache fusion, `served` where it is asked for."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    fusion: NotRequired[FusionReport]
    served: NotRequired[ServedUsage]


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


class CompletionLogprobs(TypedDict):
    """Of the text's tokens; null for a first token, which has none."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float | None] | None]
    text_offset: list[int]


class CompletionChoice(TypedDict):
    """One answer; the last two fields with `return_token_ids`."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason | None
    token_ids: NotRequired[list[int]]
    stop_reason: NotRequired[str | int | None]


class CompletionAnswer(TypedDict):
    """A completion."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage


class CompletionChunk(TypedDict):
    """An event of a completion; `usage` where it was asked for, at last with the tokens."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: NotRequired[Usage | None]


class SelectAnswer(TypedDict):
    """The best choice, its place, and the score of each."""

    object: Literal["select"]
    model: str
    index: int
    choice: str
    scores: list[float]
    usage: Usage


class EncodeAnswer(TypedDict):
    """How many chunks were computed."""

    object: Literal["encode"]
    model: str
    num_encoded: int
    usage: Usage


class EmbeddingEntry(TypedDict):
    """One vector, as numbers or as base64 of 32-bit floats."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str
    truncated: NotRequired[Literal[True]]


class EmbeddingUsage(TypedDict):
    """The tokens of all inputs."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingAnswer(TypedDict):
    """One vector an input, in order."""

    object: Literal["list"]
    model: str
    data: list[EmbeddingEntry]
    usage: EmbeddingUsage
    warning: NotRequired[str]


class RankedText(TypedDict):
    """A passage's text."""

    text: str


class Ranked(TypedDict):
    """A passage; `index` is its place in the request."""

    index: int
    relevance_score: float
    document: NotRequired[RankedText]


class RerankUsage(TypedDict):
    """Tokens of query and passages."""

    total_tokens: int


class RerankAnswer(TypedDict):
    """The passages, best first."""

    id: str
    model: str
    results: list[Ranked]
    usage: RerankUsage


class ModelCard(TypedDict):
    """A model of this server."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    kind: str
    capabilities: list[str]
    parent: NotRequired[str]
    client_priority: NotRequired[str]
    takes_places: NotRequired[bool]
    keeps_contexts: NotRequired[bool]
    max_model_len: NotRequired[int]
    fusion: NotRequired[FusionProfile]


class ModelList(TypedDict):
    """All models."""

    object: Literal["list"]
    data: list[ModelCard]


class ForesightAnswer(TypedDict):
    """What a server keeps for all its clients."""

    object: Literal["foresight"]
    num_kept: int


class TokensAnswer(TypedDict):
    """Token ids of a prompt."""

    tokens: list[int]
    count: int
    max_model_len: int


class TokenizerAnswer(TypedDict):
    """Of the LLM."""

    model: str
    bos_token: str | None
    eos_token: str | None
    chat_template: str | None
    vocab_size: int


class TextAnswer(TypedDict):
    """The text of token ids."""

    prompt: str


class HealthAnswer(TypedDict):
    """Requests are answered."""

    status: Literal["ok"]


class VersionAnswer(TypedDict):
    """The version of teola."""

    version: str


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
