"""The trace context that a client sent, for the runs that a server starts for it."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from teola.telemetry.otel import otel_of

_NAMES = (b"traceparent", b"tracestate")
_received: ContextVar[Mapping[str, str] | None] = ContextVar("teola_received", default=None)


class Incoming:
    """ASGI middleware: runs that start within a request are below its client's span."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        token = _received.set(trace_headers(scope))
        try:
            await self._app(scope, receive, send)
        finally:
            _received.reset(token)


def below_client(option: Any) -> Any:
    """The option `otel` of an app that runs for the client of this request."""
    otel, received = otel_of(option), _received.get()
    return otel if otel is None or received is None else replace(otel, headers=received)


def trace_headers(scope: Scope) -> Mapping[str, str]:
    """Those of the W3C trace context."""
    return {
        name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _NAMES
    }
