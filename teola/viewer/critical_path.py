"""Why a query took as long as it did: the chain of primitives that ended last, walked back.

Each step is the primitive that finished last among those that the next one waited for. Its time
is cut into idle (nothing had to be waited for any more, yet it was not ready: inline work), queue
and run; together with the tail after the last step they are the whole query.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from teola.viewer.model import Span, Trace


@dataclass(frozen=True, slots=True)
class Step:
    span: Span
    idle_s: float
    queue_s: float
    run_s: float

    @property
    def total_s(self) -> float:
        return self.idle_s + self.queue_s + self.run_s


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """The steps, first to last, and what came after the last one."""

    steps: tuple[Step, ...]
    tail_s: float

    @property
    def by_call(self) -> tuple[tuple[str, float], ...]:
        """Seconds for each of the user's calls, neighbours of one call together."""
        parts: list[tuple[str, float]] = []
        for step in self.steps:
            spent = step.total_s
            if parts and parts[-1][0] == step.span.call:
                spent += parts.pop()[1]
            parts.append((step.span.call, spent))
        return tuple(parts)


def critical_path(trace: Trace) -> CriticalPath:
    """The chain that decided how long the query took."""
    spans = {span.node: span for span in trace.spans}
    steps: list[Step] = []
    span = max(trace.spans, key=trace.end_of, default=None)
    until = trace.end_of(span) if span else 0.0
    tail_s = trace.duration_s - until
    while span is not None:
        before = max(_causes(span, spans), key=trace.end_of, default=None)
        opened = min(trace.end_of(before), span.ready_s) if before else 0.0
        steps.append(_step(trace, span, opened, until))
        span, until = before, opened
    return CriticalPath(tuple(reversed(steps)), tail_s)


def _causes(span: Span, spans: Mapping[str, Span]) -> list[Span]:
    """Those it waited for: of a stream, not the parts that began when it was ready already."""
    return [spans[name] for name in span.deps if spans[name].ready_s <= span.ready_s]


def _step(trace: Trace, span: Span, opened: float, until: float) -> Step:
    started = min(max(trace.start_of(span), span.ready_s), until)
    return Step(span, span.ready_s - opened, started - span.ready_s, until - started)
