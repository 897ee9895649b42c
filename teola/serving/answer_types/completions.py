"""Completions of a prompt."""

from typing import Literal, NotRequired

from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from backends.base import FinishReason
from teola.serving.answer_types.usage import Usage


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
