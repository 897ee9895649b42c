"""Where spans go: the tracers of the process, or receivers that a URL names."""

import os
import threading
import time
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import Tracer, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from runtime.events import Event
from teola.telemetry.content import Contents
from teola.telemetry.measures import Measures
from teola.telemetry.otel import Otel
from teola.telemetry.spans import Spans

SCOPE = "teola"
_FLUSH_MS = 3_000
_SEND_S = 4.0  # retries included: a process that ends waits so long for a receiver that is away
_made: dict[str, Any] = {}  # providers by URL
_making = threading.Lock()


def tracer_of(otel: Otel) -> Tracer:
    """Raises ConfigError where packages are missing."""
    return _provider(otel.to).get_tracer(SCOPE)


def spans_of(otel: Otel) -> Spans:
    """The spans of one run, below the caller's."""
    measures = Measures(metrics.get_meter(SCOPE)) if otel.to is None else None
    contents = Contents() if otel.has_content else None
    return Spans(tracer_of(otel), parent_of(otel), _live_epoch, contents, measures)


def parent_of(otel: Otel) -> Context:
    """The context of an incoming request, or that of the caller."""
    if otel.headers is None:
        return contexts.get_current()
    return TraceContextTextMapPropagator().extract(dict(otel.headers))


def flush() -> None:
    """Send what waits, for a process that is about to end."""
    for provider in _made.values():
        provider.force_flush(_FLUSH_MS)


def sending_to(exporter: Any) -> Any:
    """A provider whose spans go to an exporter, several at a time."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider as Sdk
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = "OTEL_SERVICE_NAME" in os.environ or "service.name" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    provider = Sdk(resource=Resource.create({} if named else {"service.name": SCOPE}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def exporter_to(url: str) -> Any:
    """Over HTTP; "env" takes the environment's settings."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    if url == "env":
        return OTLPSpanExporter()
    return OTLPSpanExporter(traces_url(url), timeout=_SEND_S)


def traces_url(url: str) -> str:
    """OTLP's path is added to a receiver's address, as to OTEL_EXPORTER_OTLP_ENDPOINT."""
    return url if url.rstrip("/").endswith("/v1/traces") else f"{url.rstrip('/')}/v1/traces"


def _provider(to: Any) -> TracerProvider:
    if to is None:
        return trace.get_tracer_provider()
    if not isinstance(to, str):
        found: TracerProvider = to
        return found
    with _making:
        if to not in _made:
            _made[to] = sending_to(exporter_to(to))
    made: TracerProvider = _made[to]
    return made


def _live_epoch(event: Event) -> float:
    return time.time() - event.t
