"""`POST /v1/chat/completions`: an app as a model of any OpenAI client."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from teola.app_serving.chat_fields import AppChatFields
from teola.app_serving.final_text import FinalText, text_of
from teola.app_serving.models_api import chat_app
from teola.app_serving.run import Outcome, Run, error_of
from teola.app_serving.run_errors import CLIENT_GONE, retry_headers
from teola.app_serving.runs_api import ended_while_connected
from teola.app_serving.served_app import ServedApp
from teola.app_serving.service import AppService, service_of
from teola.serving.api_errors import ApiError
from teola.serving.bodies import bodies_of
from teola.serving.chat_api import ChatShape
from teola.serving.disconnect import while_connected
from teola.serving.escaped_json import EscapedJSON
from teola.serving.event_stream import EventStream, Write
from teola.serving.fields import parse, warn_of
from teola.serving.pieces import Answer, Piece

_STATUS_S = 1.0  # a run that fails so soon has its own status, in a stream too


async def chat(request: Request) -> Response:
    """One conversation to one answer of an app; a client that leaves cancels its run."""
    service = service_of(request)
    fields, app, arguments = await bodies_of(request).read(request, partial(_parsed, service))
    warn_of(request, fields)
    run = await service.run(app, arguments, request, is_heard=fields.stream)
    shape = ChatShape(app.name, fields.includes_usage, run.id.removeprefix("run_"))
    if fields.stream:
        return await _stream(request, service, run, shape)
    await ended_while_connected(request, run)
    outcome = run.ended.result()
    error = error_of(run.id, outcome)
    return _failed(error) if error else _whole(run, outcome, shape)


def _parsed(service: AppService, body: bytes) -> tuple[AppChatFields, ServedApp, Any]:
    fields = parse(AppChatFields, body)
    app = chat_app(service, fields.model)
    assert app.chat is not None, "it can chat"
    arguments = app.chat.of(fields.messages)
    try:
        app.check(arguments)
    except ApiError as error:
        raise app.chat.error(error, fields.messages) from None
    return fields, app, arguments


def _whole(run: Run, outcome: Outcome, shape: ChatShape) -> Response:
    return EscapedJSON(
        shape.body([Answer(0, text_of(outcome.result), run.finish_reason)], run.counts)
    )


def _failed(error: ApiError) -> Response:
    answer = error.response()
    answer.headers.update(retry_headers(error))
    return answer


async def _stream(request: Request, service: AppService, run: Run, shape: ChatShape) -> Response:
    text = FinalText()
    try:
        begun = await while_connected(request.receive, _begin(run, text))
    except BaseException:
        run.cancel(CLIENT_GONE)
        raise
    error = error_of(run.id, run.ended.result()) if run.ended.done() else None
    if error is not None and not begun:
        return _failed(error)
    write_all = partial(_write_answer, run, shape, text, begun)
    return EventStream(write_all, service.metrics.count_abort)


async def _begin(run: Run, text: FinalText) -> str:
    """The first piece of the answer, if it comes soon."""
    assert run.inbox is not None, "it is heard"
    with suppress(TimeoutError):
        async with asyncio.timeout(_STATUS_S):
            while events := await run.inbox.take():
                if piece := text.new(events):
                    return piece
    return ""


async def _write_answer(
    run: Run, shape: ChatShape, text: FinalText, begun: str, write: Write
) -> None:
    assert run.inbox is not None, "it is heard"
    try:
        await write(shape.opening(0) + _piece(shape, begun))
        while events := await run.inbox.take():
            if piece := text.new(events):
                await write(_piece(shape, piece))
        await write(_end(run, shape, text, await run.outcome()) + shape.end)
    finally:
        run.cancel(CLIENT_GONE)


def _end(run: Run, shape: ChatShape, text: FinalText, outcome: Outcome) -> bytes:
    try:
        error = error_of(run.id, outcome)
        if error is not None:
            raise error
        rest = text.rest(outcome.result)
    except ApiError as error:
        return shape.failure(error)
    return (
        _piece(shape, rest)
        + shape.closing(Answer(0, "", run.finish_reason))
        + shape.usage(run.counts)
    )


def _piece(shape: ChatShape, text: str) -> bytes:
    return shape.piece(Piece(0, text)) if text else b""
