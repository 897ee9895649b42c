"""`POST /v1/responses`: OpenAI's newer API, without a memory."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from teola.serving.answer import answer
from teola.serving.api_errors import ApiError
from teola.serving.clients import service_for
from teola.serving.fields import read
from teola.serving.generation import Generation
from teola.serving.pieces import Answer, Piece
from teola.serving.response_events import ResponseEvents
from teola.serving.response_fields import ResponseFields
from teola.serving.response_objects import ResponseObject, output_of
from teola.serving.served_engines import engines_of
from teola.serving.token_counts import TokenCounts


class ResponseShape:
    """`response`, or the events of it."""

    prompt_field = "input"
    form_field = "text.format"
    end = b""

    def __init__(self, made: ResponseObject) -> None:
        self._made = made
        self._events = ResponseEvents()
        self._answer: Answer | None = None

    def body(self, answers: Sequence[Answer], counts: TokenCounts) -> dict[str, Any]:
        (only,) = answers
        return self._made.ended(output_of(only), only, counts)

    def opening(self, index: int) -> bytes:  # noqa: ARG002 - a Shape
        running = self._made.running()
        kinds = ("response.created", "response.in_progress")
        return b"".join(self._events.event(kind, response=running) for kind in kinds)

    def piece(self, piece: Piece) -> bytes:
        text = self._events.text(piece.text, piece.logprobs) if piece.text else b""
        return text + b"".join(self._events.call(call) for _, call in piece.calls)

    def closing(self, answer: Answer) -> bytes:
        self._answer = answer
        untold = (answer.logprobs or ())[answer.num_told :]
        left = tuple(token for token in untold if token.raw)  # markup is not told
        is_told = left if self._events.is_open else not (answer.text or answer.calls)
        return (self._events.text("", left) if is_told else b"") + self._events.close()

    def usage(self, counts: TokenCounts) -> bytes:
        assert self._answer is not None, "the answer has ended"
        made = self._made.ended(self._events.output, self._answer, counts)
        return self._events.event(f"response.{made['status']}", response=made)

    def failure(self, error: ApiError) -> bytes:
        about = {"code": error.code, "message": error.message, "param": error.param}
        return self._events.event("error", **about)


async def respond(request: Request) -> Response:
    """One conversation to one answer."""
    fields = await read(request, ResponseFields)
    engines = engines_of(request)
    llm = engines.find("llm", fields.model)
    generation = Generation(
        llm,
        engines.metrics,
        [fields.parts],
        fields.attrs(llm.max_context_tokens),
        service=service_for(request, engines),
        form_field=ResponseShape.form_field,
        prompt_attrs={
            **llm.prompt_attrs(fields.model, fields.cache_salt),
            **fields.tool_attrs,
        },
    )
    shape = ResponseShape(ResponseObject(llm.name_for(fields.model), fields))
    return await answer(request, generation, shape, streams=fields.stream, metrics=engines.metrics)
