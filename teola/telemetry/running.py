"""The spans of a run while it runs; nothing of OpenTelemetry is imported without them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from backends.optional import optional_imports
from runtime.events import Listener
from runtime.recorded import Record
from teola.telemetry.otel import Otel, otel_of

if TYPE_CHECKING:
    from teola.telemetry.spans import Spans


class RunSpans:
    """The option `otel` of the queries inside a run: they add to its spans, if it has any."""

    def __init__(self, spans: "Spans | None", *, is_own: bool) -> None:
        self._spans = spans
        self._is_own = is_own  # else the run around it listens
        self.result: Any = None

    @property
    def listener(self) -> Listener | None:
        """What the run's events go to."""
        return self._spans if self._is_own else None

    @property
    def traceparent(self) -> Callable[[str], str] | None:
        """Gives the trace context of the request at a place of the run."""
        return None if self._spans is None else self._spans.traceparent

    @property
    def record(self) -> Record | None:
        """Sees requests with their results, where spans hold content."""
        spans = self._spans
        return None if spans is None or not spans.has_content else spans.record

    def inner(self) -> "RunSpans":
        """For a run inside this one."""
        return self if not self._is_own else RunSpans(self._spans, is_own=False)

    def close(self, inputs: Any) -> None:
        if self._spans is not None:
            self._spans.close(inputs, self.result)


@contextmanager
def open_spans(option: Any, inputs: Any) -> Iterator[RunSpans]:
    """The spans of a run with this option `otel`.

    Raises ConfigError for an option that means nothing, and EngineUnavailable where packages are
    missing.
    """
    if isinstance(option, RunSpans):
        yield option.inner()
        return
    otel = otel_of(option)
    if otel is None:
        yield RunSpans(None, is_own=False)
        return
    running = RunSpans(_spans(otel), is_own=True)
    try:
        yield running
    finally:
        running.close(inputs)


def flush_spans() -> None:
    """Send what waits, if any spans were made."""
    providers = sys.modules.get("teola.telemetry.providers")
    if providers is not None:
        providers.flush()


def _spans(otel: Otel) -> "Spans":
    with optional_imports("otel"):
        from teola.telemetry.providers import spans_of

        return spans_of(otel)
