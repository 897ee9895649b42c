"""How a generation is answered: one body, or a stream of events, in the shape of its route."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from backends.errors import EngineError
from teola.serving.api_errors import ApiError, from_engine
from teola.serving.disconnect import while_connected
from teola.serving.event_stream import Events, EventStream, Write
from teola.serving.generation import Generation
from teola.serving.metrics import Metrics
from teola.serving.pieces import Answer, Piece
from teola.serving.token_counts import TokenCounts


class Shape(Protocol):
    """What a route writes. Events are whole `data:` frames; b"" for none."""

    prompt_field: str  # what an error about the prompt names
    form_field: str  # and one about the form of the answer
    end: bytes  # behind the last event of a stream, or an error

    def body(self, answers: Sequence[Answer], counts: TokenCounts) -> dict[str, Any]: ...

    def opening(self, index: int) -> bytes: ...

    def piece(self, piece: Piece) -> bytes: ...

    def closing(self, answer: Answer) -> bytes: ...

    def usage(self, counts: TokenCounts) -> bytes: ...

    def failure(self, error: ApiError) -> bytes: ...


async def answer(
    request: Request, generation: Generation, shape: Shape, *, streams: bool, metrics: Metrics
) -> Response:
    """Raises ApiError for what failed before a first token: also a stream then has its status."""
    try:
        if streams:
            return await _stream(request, generation, shape, metrics)
        answers = await while_connected(request.receive, generation.run(lambda _: None))
        return JSONResponse(shape.body(answers, generation.counts))
    except EngineError as error:
        raise from_engine(error, shape.prompt_field, shape.form_field) from error


def frame(content: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(content, separators=(",", ":")).encode() + b"\n\n"


class PieceFrames:
    """Events that differ in nothing but an index and a text, which are all that is written anew
    for each token."""

    def __init__(self, chunk: Callable[[int, str], Any]) -> None:
        whole = frame(chunk(_INDEX, _TEXT))
        self._before, _, rest = whole.partition(str(_INDEX).encode())
        self._between, _, self._after = rest.partition(json.dumps(_TEXT).encode())

    def of(self, piece: Piece) -> bytes:
        text = json.dumps(piece.text).encode()
        return b"%b%d%b%b%b" % (self._before, piece.index, self._between, text, self._after)


_INDEX, _TEXT = -7418529630, "QZPIECEQZ"  # stand in no id and no model's name
DONE = b"data: [DONE]\n\n"


async def _stream(
    request: Request, generation: Generation, shape: Shape, metrics: Metrics
) -> Response:
    events = Events(generation)
    try:
        first = await while_connected(request.receive, events.take())
    except BaseException:
        await events.cancel()
        raise

    async def write_all(write: Write) -> None:
        try:
            frames = [shape.opening(index) for index in range(generation.num_answers)]
            taken = first
            while taken:
                await write(b"".join((*frames, *(_frame_of(shape, event) for event in taken))))
                frames, taken = [], await events.take()
            await write(shape.usage(generation.counts) + shape.end)
        except EngineError as error:
            told = from_engine(error, shape.prompt_field, shape.form_field)
            await write(shape.failure(told) + shape.end)
        finally:
            await events.cancel()

    return EventStream(write_all, on_gone=metrics.count_abort)


def _frame_of(shape: Shape, event: Piece | Answer) -> bytes:
    return shape.piece(event) if isinstance(event, Piece) else shape.closing(event)
