"""`POST /v1/completions`: prompts as text, as token ids or in pieces, one or many.

Fields for clients that keep token ids, as vLLM names them: `return_token_ids`, `request_id`,
`return_tokens_as_token_ids`. `max_tokens: 0` computes a prompt into the prefix cache.
"""

from collections.abc import Sequence
from functools import cached_property
from time import time
from typing import Annotated, Any
from uuid import uuid4

from pydantic import BeforeValidator, Field
from starlette.requests import Request
from starlette.responses import Response

from backends.base import Part
from teola.serving.answer import PieceFrames, answer, frame
from teola.serving.decode_fields import DecodeFields
from teola.serving.fields import INT_END, TokenId, read
from teola.serving.generation import Answer, Generation, Piece
from teola.serving.logprobs import completion_logprobs
from teola.serving.prompt_parts import PromptPart, parts_of
from teola.serving.served_engines import engines_of
from teola.serving.token_counts import TokenCounts

_MAX_PROMPTS = 1024


def _as_prompts(value: object) -> object:
    """A list of prompts, whichever of OpenAI's four forms is given, or a prompt in pieces."""
    if isinstance(value, str):
        return [value]
    is_one = isinstance(value, list) and value and all(type(item) in (int, dict) for item in value)
    return [value] if is_one else value


class CompletionFields(DecodeFields):
    """The body of a completion."""

    derived = ("prompts",)

    prompt: Annotated[
        list[str] | list[list[TokenId]] | list[list[PromptPart]],
        Field(min_length=1, max_length=_MAX_PROMPTS),
        BeforeValidator(_as_prompts),
    ]
    max_tokens: int = Field(16, ge=0, lt=INT_END)
    request_id: str | None = Field(None, min_length=1, max_length=128)  # the answer's id holds it
    return_token_ids: bool = False  # and why the answer stopped
    return_tokens_as_token_ids: bool = False  # of log-probabilities
    logprobs: int | None = Field(None, ge=0, le=20)

    @cached_property
    def prompts(self) -> list[list[Part]]:
        return [parts_of(prompt) for prompt in self.prompt]


class CompletionShape:
    """`text_completion`; a chunk looks like the whole."""

    prompt_field = "prompt"

    def __init__(self, model: str, fields: CompletionFields) -> None:
        self._head = {
            "id": f"cmpl-{fields.request_id or uuid4().hex}",
            "object": "text_completion",
            "created": int(time()),
            "model": model,
        }
        self._includes_usage = fields.includes_usage
        self._returns_ids = fields.return_token_ids
        self._names_ids = fields.return_tokens_as_token_ids
        self._pieces = PieceFrames(lambda index, text: self._chunk(index, text))

    def body(self, answers: Sequence[Answer], counts: TokenCounts) -> dict[str, Any]:
        choices = [self._choice(answer.index, answer.text, answer) for answer in answers]
        return {**self._head, "choices": choices, "usage": counts.body}

    def opening(self, index: int) -> bytes:  # noqa: ARG002 - a Shape
        return b""

    def piece(self, piece: Piece) -> bytes:
        return self._pieces.of(piece)

    def closing(self, answer: Answer) -> bytes:
        return frame(self._chunk(answer.index, "", answer))

    def usage(self, counts: TokenCounts) -> bytes:
        if not self._includes_usage:
            return b""
        return frame({**self._head, "choices": [], "usage": counts.body})

    def _chunk(self, index: int, text: str, ended: Answer | None = None) -> dict[str, Any]:
        chunk = {**self._head, "choices": [self._choice(index, text, ended)]}
        return {**chunk, "usage": None} if self._includes_usage else chunk

    def _choice(self, index: int, text: str, ended: Answer | None) -> dict[str, Any]:
        logprobs = None
        if ended is not None and ended.logprobs is not None:
            logprobs = completion_logprobs(ended.logprobs, as_ids=self._names_ids)
        choice = {
            "index": index,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": ended.finish_reason if ended else None,
        }
        if ended is not None and self._returns_ids:
            choice |= {"token_ids": ended.token_ids, "stop_reason": ended.stop}
        return choice


async def complete(request: Request) -> Response:
    """Each prompt to `n` answers; those of prompt p have the indices p * n and on."""
    fields = await read(request, CompletionFields)
    engines = engines_of(request)
    llm = engines.find("llm", fields.model)
    attrs = fields.attrs(fields.max_tokens, fields.logprobs) if fields.max_tokens else None
    generation = Generation(
        llm,
        engines.metrics,
        fields.prompts,
        attrs,
        n=fields.n,
        service=fields.service,
        fusion=fields.fusion,
        prompt_attrs=llm.prompt_attrs(fields.model, fields.cache_salt),
        returns_ids=fields.return_token_ids,
    )
    shape = CompletionShape(llm.name_for(fields.model), fields)
    return await answer(request, generation, shape, streams=fields.stream, metrics=engines.metrics)
