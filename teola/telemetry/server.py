"""The spans of a server of engines: one an HTTP request, below the client's."""

from time import perf_counter
from typing import Any

from opentelemetry.trace import (
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backends.base import Request, Result, Usage, total
from teola.serving.disconnect import is_gone
from teola.serving.request_span import answered
from teola.telemetry.incoming import trace_headers
from teola.telemetry.otel import Otel
from teola.telemetry.providers import tracer_of
from teola.telemetry.shape import Attributes

_OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}
_KINDS = {"chat": "LLM", "text_completion": "LLM", "embeddings": "EMBEDDING"}


class ServerSpans:
    """ASGI middleware. GETs, which are probes and scrapes, have no spans."""

    def __init__(self, app: ASGIApp, otel: Otel) -> None:
        self._app = app
        self._tracer = tracer_of(otel)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self._app(scope, receive, send)
        span = _Answered(self._tracer, scope)

        async def watched(message: Message) -> None:
            span.see(message)
            await send(message)

        token = answered.set(span)
        try:
            await self._app(scope, receive, watched)
        finally:
            answered.reset(token)
            span.end(scope)


class _Answered:
    def __init__(self, tracer: Tracer, scope: Scope) -> None:
        self._path: str = scope["path"]
        parent = TraceContextTextMapPropagator().extract(dict(trace_headers(scope)))
        self._span = tracer.start_span(f"POST {self._path}", parent, SpanKind.SERVER)
        self._began_s = perf_counter()
        self._status = 0
        self._model = ""
        self._usages: list[Usage] = []
        self._reasons: list[str] = []
        self._first_s: float | None = None

    @property
    def traceparent(self) -> str:
        context = self._span.get_span_context()
        ids = f"{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}"
        return f"00-{ids}-{context.trace_flags:02x}" if context.is_valid else ""

    def note(self, model: str, request: Request, result: Result) -> None:  # noqa: ARG002
        self._model = model
        self._usages.append(result.usage)
        if result.finish_reason is not None:
            self._reasons.append(result.finish_reason)

    def see(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        elif self._first_s is None and message.get("more_body"):
            self._first_s = perf_counter() - self._began_s

    def end(self, scope: Scope) -> None:
        operation = _OPERATIONS.get(self._path)
        if operation is not None and self._model:
            self._span.update_name(f"{operation} {self._model}")
        self._span.set_attributes(self._attributes(operation))
        error = _error_of(scope, self._status)
        if error:
            self._span.set_attribute("error.type", error)
        if error and self._status not in range(400, 500):  # those are the client's
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end()

    def _attributes(self, operation: str | None) -> Attributes:
        found: Attributes = {"http.request.method": "POST", "url.path": self._path}
        if self._status:
            found["http.response.status_code"] = self._status
        if operation is not None:
            found["gen_ai.operation.name"] = operation
            found["openinference.span.kind"] = _KINDS[operation]
        if self._model:
            found["gen_ai.provider.name"] = "teola"
            found["gen_ai.request.model"] = self._model
        if self._usages:
            found |= _tokens(total(self._usages))
        if self._reasons:
            found["gen_ai.response.finish_reasons"] = self._reasons
        if self._first_s is not None:
            found["gen_ai.response.time_to_first_chunk"] = self._first_s
        return found


def _tokens(usage: Usage) -> dict[str, Any]:
    return {
        "gen_ai.usage.input_tokens": usage.prefill_tokens
        + usage.cached_tokens
        + usage.fused_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.output_tokens": usage.decode_tokens + usage.forced_tokens,
    }


def _error_of(scope: Scope, status: int) -> str:
    if is_gone(scope):
        return "cancelled"
    return str(status) if status >= 400 or not status else ""
