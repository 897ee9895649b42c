"""`POST /v1/completions`: prompts as text, as token ids or in pieces, one or many.

Fields for clients that keep token ids, as vLLM names them: `return_token_ids`, `request_id`,
`return_tokens_as_token_ids`. `max_tokens: 0` computes a prompt into the prefix cache.
"""

from collections.abc import Sequence
from functools import cached_property
from time import time
from typing import Annotated, Any, ClassVar
from uuid import uuid4

from pydantic import BeforeValidator, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from backends.base import Part, TokenLogprob
from teola.serving.answer import DONE, PieceFrames, answer, frame
from teola.serving.api_errors import ApiError, invalid
from teola.serving.clients import service_for
from teola.serving.context_fields import ContextFields
from teola.serving.decode_fields import DecodeFields
from teola.serving.echo import Echo, echo_of
from teola.serving.fields import INT_END, UNSUPPORTED, TokenId, Unsupported, read
from teola.serving.foresight_api import keeping_of
from teola.serving.generation import Generation
from teola.serving.logprobs import completion_logprobs, token_text
from teola.serving.parsed_prompt import parsed
from teola.serving.pieces import Answer, Piece
from teola.serving.prompt_parts import PromptPart, parts_of
from teola.serving.served_engines import engines_of
from teola.serving.token_counts import TokenCounts

_MAX_PROMPTS = 1024
_Many = Field(min_length=1, max_length=_MAX_PROMPTS)
_Some = Field(min_length=1)
Prompts = (
    str
    | Annotated[list[str], _Many]
    | Annotated[list[TokenId], _Some]
    | Annotated[list[list[TokenId]], _Many]
    | Annotated[list[PromptPart], _Some]
    | Annotated[list[list[PromptPart]], _Many]
)


def _as_prompts(value: object) -> object:
    """A list of prompts, whichever of OpenAI's four forms is given, or a prompt in pieces."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        return value
    if value and all(type(item) in (int, dict) for item in value):
        return [value]
    if len(value) > _MAX_PROMPTS:  # before each is looked at
        raise ValueError(f"there are {len(value)} prompts; at most {_MAX_PROMPTS} are allowed")
    return value


class CompletionFields(DecodeFields):
    """The body of a completion."""

    derived = ("prompts",)
    unsupported: ClassVar[Unsupported] = {
        **UNSUPPORTED,
        "add_special_tokens": ((True,), "write a prompt of token ids"),
    }

    prompt: Annotated[
        list[str] | list[list[TokenId]] | list[list[PromptPart]],
        _Many,
        BeforeValidator(_as_prompts, json_schema_input_type=Prompts),
    ]
    max_tokens: int = Field(16, ge=0, lt=INT_END)
    request_id: str | None = Field(None, min_length=1, max_length=128)  # the answer's id holds it
    return_token_ids: bool = False  # and why the answer stopped
    return_tokens_as_token_ids: bool = False  # of log-probabilities
    contexts: ContextFields | None = None  # kept for the client
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool = False  # the prompt stands before the answer, with its log-probabilities
    parse_special: bool | None = None  # a text's markup is markup; left out: the server's rule

    @model_validator(mode="after")
    def _goes_with_echo(self) -> "CompletionFields":
        if self.echo and self.stream:
            raise invalid("echo", "echo is for whole answers: leave stream out")
        if self.fusion is not None and self.echo and self.logprobs is not None:
            raise invalid("fusion", "log-probabilities of a prompt are exact: leave fusion out")
        if self.fusion is not None and self.parse_special:
            raise invalid("fusion", "parse_special makes token ids of a text: leave fusion out")
        return self

    @cached_property
    def prompts(self) -> list[list[Part]]:
        return [parts_of(prompt) for prompt in self.prompt]


class CompletionShape:
    """`text_completion`; a chunk looks like the whole."""

    prompt_field = "prompt"
    end = DONE

    def __init__(self, model: str, fields: CompletionFields, echo: Echo | None = None) -> None:
        self._head = {
            "id": f"cmpl-{fields.request_id or uuid4().hex}",
            "object": "text_completion",
            "created": int(time()),
            "model": model,
        }
        self.form_field = fields.form_field
        self._includes_usage = fields.includes_usage
        self._returns_ids = fields.return_token_ids
        self._names_ids = fields.return_tokens_as_token_ids
        self._echo = echo
        self._pieces = PieceFrames(lambda index, text: self._chunk(index, text))
        self._lengths: dict[int, int] = {}  # of the tokens' text told so far, by answer

    def body(self, answers: Sequence[Answer], counts: TokenCounts) -> dict[str, Any]:
        choices = [self._whole(answer) for answer in answers]
        return {**self._head, "choices": choices, "usage": counts.body}

    def opening(self, index: int) -> bytes:  # noqa: ARG002 - a Shape
        return b""

    def piece(self, piece: Piece) -> bytes:
        if not piece.logprobs:
            return self._pieces.of(piece)
        told = self._told(piece.index, piece.logprobs)
        return frame(self._chunk(piece.index, piece.text, logprobs=told))

    def closing(self, answer: Answer) -> bytes:
        left = None if answer.logprobs is None else answer.logprobs[answer.num_told :]
        told = self._told(answer.index, left) if left or not answer.num_told else None
        return frame(self._chunk(answer.index, "", answer, told))

    def usage(self, counts: TokenCounts) -> bytes:
        if not self._includes_usage:
            return b""
        return frame({**self._head, "choices": [], "usage": counts.body})

    def _whole(self, answer: Answer) -> dict[str, Any]:
        echo, tokens = self._echo, answer.logprobs
        if echo is None:
            return self._choice(answer.index, answer.text, answer, self._told(answer.index, tokens))
        if answer.prompt is not None:
            tokens = tuple(echo.tokens(answer.prompt, tokens or ()))
        told = self._told(answer.index, tokens)
        return self._choice(answer.index, echo.text(answer.index) + answer.text, answer, told)

    def _told(self, index: int, tokens: Sequence[TokenLogprob] | None) -> Any:
        """The next log-probabilities of an answer; None: not asked for."""
        if tokens is None:
            return None
        start = self._lengths.get(index, 0)
        self._lengths[index] = start + sum(len(token_text(token)) for token in tokens)
        return completion_logprobs(tokens, as_ids=self._names_ids, start=start)

    def failure(self, error: ApiError) -> bytes:
        return frame(error.body)

    def _chunk(
        self, index: int, text: str, ended: Answer | None = None, logprobs: Any = None
    ) -> dict[str, Any]:
        chunk = {**self._head, "choices": [self._choice(index, text, ended, logprobs)]}
        return {**chunk, "usage": None} if self._includes_usage else chunk

    def _choice(self, index: int, text: str, ended: Answer | None, logprobs: Any) -> dict[str, Any]:
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
    prompts = fields.prompts
    echo = echo_of(llm, prompts, fields.n, fields.logprobs) if fields.echo else None
    if fields.fusion is None and engines.rules.parsed(fields.parse_special):
        prompts = [await parsed(llm, parts) for parts in prompts]
    generation = Generation(
        llm,
        engines.metrics,
        prompts,
        attrs,
        n=fields.n,
        service=service_for(
            request, engines, fields, itl_ms=fields.itl_ms, is_heard=fields.return_served
        ),
        fusion=fields.fusion,
        form_field=fields.form_field,
        prompt_attrs=llm.prompt_attrs(fields.model, fields.cache_salt),
        returns_ids=fields.return_token_ids,
        prompt_logprobs=fields.logprobs if fields.echo else None,
        keeping=keeping_of(request, engines, llm, fields.contexts, fields.n * len(prompts)),
    )
    shape = CompletionShape(llm.name_for(fields.model), fields, echo)
    return await answer(request, generation, shape, streams=fields.stream, metrics=engines.metrics)
