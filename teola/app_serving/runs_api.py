"""`POST /v1/apps/{name}/runs`, `GET /v1/runs`, `/v1/runs/{id}` and `POST /v1/runs/{id}/cancel`."""

import asyncio
import json
from functools import partial
from typing import Any

from pydantic import Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from teola.app_serving.run import Run
from teola.app_serving.run_errors import CLIENT_GONE, retry_headers
from teola.app_serving.run_events import EventFrames, first_frame, last_frame
from teola.app_serving.run_list import query_of
from teola.app_serving.served_app import ServedApp
from teola.app_serving.service import AppService, service_of
from teola.serving.answer import DONE
from teola.serving.bodies import bodies_of
from teola.serving.disconnect import while_connected
from teola.serving.event_stream import EventStream, Write
from teola.serving.fields import Fields, parse

_STOP_S = 2.0


class RunFields(Fields):
    """The body of a run."""

    arguments: dict[str, Any] = Field(default_factory=dict)
    stream: bool = False  # events, then the result
    background: bool = False  # answer at once, and go on without the client

    @model_validator(mode="after")
    def _one_way(self) -> "RunFields":
        if self.stream and self.background:
            raise ValueError("stream and background exclude each other")
        return self


async def start_run(request: Request) -> Response:
    """Runs an app; but for `background`, a client that leaves cancels it."""
    service = service_of(request)
    app = service.app(request.path_params["name"])
    fields = await bodies_of(request).read(request, partial(_parsed, app))
    run = await service.run(app, fields.arguments, request, is_heard=fields.stream)
    if fields.background:
        return run_answer(run, 202)
    if fields.stream:
        return EventStream(partial(_write_run, run), service.metrics.count_abort)
    await ended_while_connected(request, run)
    return run_answer(run)


def _parsed(app: ServedApp, body: bytes) -> RunFields:
    fields = parse(RunFields, body)
    app.check(fields.arguments)
    return fields


async def ended_while_connected(request: Request, run: Run) -> None:
    """Raises ClientGone, when it has cancelled the run of a client that left."""
    try:
        await while_connected(request.receive, run.outcome())
    finally:
        run.cancel(CLIENT_GONE)


async def _write_run(run: Run, write: Write) -> None:
    assert run.inbox is not None, "it is heard"
    frames = EventFrames(run)
    try:
        await write(first_frame(run))
        while events := await run.inbox.take():
            await write(b"".join(map(frames.of, events)))
        await run.outcome()
        await write(last_frame(run) + DONE)
    finally:
        run.cancel(CLIENT_GONE)


def run_answer(run: Run, status: int = 200) -> Response:
    """The run as it is; one that failed with its error's status, one that waits with 202."""
    outcome = run.ended.result() if run.ended.done() else None
    error = outcome.error if outcome else None
    if error is None:
        waits = outcome is not None and outcome.status == "waiting"
        return _json(run.body, 202 if waits else status)
    answer = _json(run.body, error.status)
    answer.headers.update({**error.response().headers, **answer.headers, **retry_headers(error)})
    return answer


async def list_runs(request: Request) -> Response:
    """A page of the runs, the newest first; without a state, of those that have not ended."""
    return _json(await service_of(request).listed(query_of(request)))


async def get_run(request: Request) -> Response:
    """How a run is, with its result when it has ended."""
    return _shown(await service_of(request).find(request.path_params["id"]))


async def cancel_run(request: Request) -> Response:
    """Stops a run; one that has ended stays as it is."""
    run = await service_of(request).cancel(request.path_params["id"])
    if isinstance(run, Run):
        stopping = asyncio.ensure_future(run.stopped.wait())
        await asyncio.wait((stopping,), timeout=0 if run.is_tracing else _STOP_S)
        stopping.cancel()
    return _shown(run)


def _shown(run: Run | bytes) -> Response:
    return _json(run.body) if isinstance(run, Run) else _answer(run)


def _json(body: dict[str, Any], status: int = 200) -> Response:
    return _answer(json.dumps(body).encode(), status)


def _answer(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")


async def list_apps(request: Request) -> Response:
    """All apps of this server."""
    apps = service_of(request).apps.values()
    return _json({"object": "list", "data": [app.body for app in apps]})


async def get_app(request: Request) -> Response:
    """One app."""
    service: AppService = service_of(request)
    return _json(service.app(request.path_params["name"]).body)
