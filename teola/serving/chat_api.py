"""`POST /v1/chat/completions`."""

from collections.abc import Sequence
from functools import cached_property
from time import time
from typing import Any, ClassVar
from uuid import uuid4

from pydantic import Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from backends.base import Part, ToolCall
from teola.serving.answer import DONE, PieceFrames, answer, frame
from teola.serving.api_errors import ApiError, invalid
from teola.serving.chat_message import Message, conversation
from teola.serving.clients import service_for
from teola.serving.decode_fields import DecodeFields
from teola.serving.fields import INT_END, UNSUPPORTED, Unsupported, read
from teola.serving.generation import Generation
from teola.serving.logprobs import chat_logprobs
from teola.serving.pieces import Answer, Piece
from teola.serving.served_engines import engines_of
from teola.serving.token_counts import TokenCounts
from teola.serving.tool_fields import HasTools

_MAX_MESSAGES = 4096
MARKUP_IS_THERE: Unsupported = {
    "add_special_tokens": ((False,), "the model's template writes what begins a conversation"),
}


class ChatFields(DecodeFields, HasTools):
    """The body of a chat completion."""

    derived = ("parts",)
    unsupported: ClassVar[Unsupported] = {**UNSUPPORTED, **MARKUP_IS_THERE}

    messages: list[Message] = Field(min_length=1, max_length=_MAX_MESSAGES)
    add_generation_prompt: bool = True
    continue_final_message: bool = False  # the answer goes on where the last message ends
    max_tokens: int | None = Field(None, ge=1, lt=INT_END)  # None: to the end of the context
    max_completion_tokens: int | None = Field(None, ge=1, lt=INT_END)
    request_id: str | None = Field(None, min_length=1, max_length=128)  # the answer's id holds it
    return_token_ids: bool = False  # and why the answer stopped
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=20)

    @model_validator(mode="after")
    def _one_limit(self) -> "ChatFields":
        limits = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(limits) > 1:
            why = "max_tokens and max_completion_tokens differ; give one of them"
            raise invalid("max_completion_tokens", why)
        if self.top_logprobs and not self.logprobs:
            raise invalid("top_logprobs", "top_logprobs needs logprobs: true")
        return self

    @cached_property
    def parts(self) -> list[Part]:
        opens_answer = self.add_generation_prompt and not self.continue_final_message
        return conversation(self.messages, opens_answer, has_tools=bool(self.tools))


class ChatShape:
    """`chat.completion`, and its chunks."""

    prompt_field = "messages"
    end = DONE

    def __init__(
        self,
        model: str,
        includes_usage: bool,
        number: str | None = None,
        form_field: str = "",
    ) -> None:
        self.form_field = form_field
        number = number or uuid4().hex
        self._head = {"id": f"chatcmpl-{number}", "created": int(time()), "model": model}
        self._includes_usage = includes_usage
        self._pieces = PieceFrames(lambda index, text: self._chunk(index, {"content": text}, None))

    def body(self, answers: Sequence[Answer], counts: TokenCounts) -> dict[str, Any]:
        choices = [
            {
                "index": answer.index,
                "message": _message(answer),
                "logprobs": _logprobs(answer),
                "finish_reason": answer.finish_reason,
                **_ids(answer),
            }
            for answer in answers
        ]
        return {
            **self._head,
            "object": "chat.completion",
            "choices": choices,
            "usage": counts.body,
        }

    def opening(self, index: int) -> bytes:
        return frame(self._chunk(index, {"role": "assistant", "content": ""}, None))

    def piece(self, piece: Piece) -> bytes:
        if not (piece.calls or piece.logprobs):
            return self._pieces.of(piece)
        delta: dict[str, Any] = {"content": piece.text} if piece.text else {}
        if piece.calls:
            calls = ({"index": number, **_call(call)} for number, call in piece.calls)
            delta["tool_calls"] = [*calls]
        logprobs = chat_logprobs(piece.logprobs) if piece.logprobs else None
        return frame(self._chunk(piece.index, delta, None, logprobs))

    def closing(self, answer: Answer) -> bytes:
        left = None if answer.logprobs is None else answer.logprobs[answer.num_told :]
        logprobs = chat_logprobs(left) if left else None
        chunk = self._chunk(answer.index, {}, answer.finish_reason, logprobs)
        chunk["choices"][0] |= _ids(answer)
        return frame(chunk)

    def usage(self, counts: TokenCounts) -> bytes:
        if not self._includes_usage:
            return b""
        chunk = {**self._chunk(0, {}, None), "choices": [], "usage": counts.body}
        return frame(chunk)

    def failure(self, error: ApiError) -> bytes:
        return frame(error.body)

    def _chunk(
        self, index: int, delta: dict[str, Any], reason: str | None, logprobs: Any = None
    ) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": [choice]}
        return {**chunk, "usage": None} if self._includes_usage else chunk


def _message(answer: Answer) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer.text, "refusal": None}
    if not answer.calls:
        return message
    return {**message, "content": answer.text or None, "tool_calls": [*map(_call, answer.calls)]}


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _ids(answer: Answer) -> dict[str, Any]:
    if answer.token_ids is None:
        return {}
    return {"token_ids": answer.token_ids, "stop_reason": answer.stop}


def _logprobs(answer: Answer) -> Any:
    return None if answer.logprobs is None else chat_logprobs(answer.logprobs)


async def chat(request: Request) -> Response:
    """One conversation to `n` answers."""
    fields = await read(request, ChatFields)
    engines = engines_of(request)
    llm = engines.find("llm", fields.model)
    limit = fields.max_completion_tokens or fields.max_tokens or llm.max_context_tokens
    attrs = fields.attrs(limit, (fields.top_logprobs or 0) if fields.logprobs else None)
    generation = Generation(
        llm,
        engines.metrics,
        [fields.parts],
        attrs,
        n=fields.n,
        service=service_for(
            request, engines, fields, itl_ms=fields.itl_ms, is_heard=fields.return_served
        ),
        fusion=fields.fusion,
        form_field=fields.form_field,
        prompt_attrs={
            **llm.prompt_attrs(fields.model, fields.cache_salt),
            **fields.tool_attrs(fields.messages),
        },
        returns_ids=fields.return_token_ids,
    )
    name = llm.name_for(fields.model)
    shape = ChatShape(name, fields.includes_usage, fields.request_id, fields.form_field)
    return await answer(request, generation, shape, streams=fields.stream, metrics=engines.metrics)
