"""Runs as one trace each: the segments of an `async def` app, with the runs inside their nodes.

segments   q1 plan ├───────┤
           q2 people     ├─┤
           q3 divide           ├──┤
the run    q1    ├────────────────┤  with the spans of all, on one time axis
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from runtime.events import Event
from teola.viewer.model import RUNNING, Span, Trace, TraceBuilder

_CANCELLED = "QueryCancelled"  # a segment that nobody waits for when its app ends


class RunBuilder:
    """Takes the events of one run, those of its segments and of the runs inside it."""

    def __init__(self) -> None:
        self._queries: dict[str, TraceBuilder] = {}

    def __call__(self, event: Event) -> None:
        self._queries.setdefault(event.query, TraceBuilder())(event)

    @property
    def spans(self) -> list[Span]:
        """Those of all its queries so far, from the begin of the run."""
        begun = [builder for builder in self._queries.values() if builder.has_begun]
        first = min((builder.began_t for builder in begun), default=0.0)
        return [
            shifted(span, builder.began_t - first)
            for builder in begun
            for span in builder.spans.values()
        ]

    def trace(self) -> Trace:
        """The run as far as it was told."""
        begun = [builder.trace() for builder in self._queries.values() if builder.has_begun]
        outer = [run for run in runs(begun) if not run.within]
        return outer[0] if outer else Trace(query="", app="")


def runs(queries: Sequence[Trace]) -> tuple[Trace, ...]:
    """The queries with the segments of each run as one, and in each the runs inside it."""
    segments: dict[str, list[Trace]] = {}
    for query in queries:
        segments.setdefault(query.run or f"query {query.query}", []).append(query)
    return with_inside([joined(parts) for parts in segments.values()])


def with_inside(traces: Sequence[Trace]) -> tuple[Trace, ...]:
    """All traces, each with those of the apps inside it."""
    parts: dict[str, list[Trace]] = {}
    for trace in traces:
        if trace.within:
            parts.setdefault(trace.within.partition(".")[0], []).append(trace)

    def whole(trace: Trace) -> Trace:
        found = [part for query in trace.queries for part in parts.get(query, ())]
        return replace(trace, inside=tuple(map(whole, found))) if found else trace

    return tuple(map(whole, traces))


def joined(segments: Sequence[Trace]) -> Trace:
    """One trace of all segments. What no plan covers as a whole has none."""
    if len(segments) == 1:
        return segments[0]
    first = min(segments, key=lambda segment: segment.began_t)
    later_s = [segment.began_t - first.began_t for segment in segments]
    last = _deciding(segments)
    ends = (segment.duration_s + later for segment, later in zip(segments, later_s, strict=True))
    return replace(
        first,
        queries=tuple(segment.query for segment in segments),
        status=RUNNING if any(each.status == RUNNING for each in segments) else last.status,
        error=last.error,
        duration_s=max(ends),
        spans=_one_after_another(segments, later_s),
        places={call: place for each in segments for call, place in each.places.items()},
        warning=next((each.warning for each in segments if each.warning), ""),
        expected=None,
    )


def shifted(span: Span, by_s: float) -> Span:
    """The span as seen from another begin."""
    return replace(
        span,
        ready_s=span.ready_s + by_s,
        start_s=None if span.start_s is None else span.start_s + by_s,
        first_token_s=None if span.first_token_s is None else span.first_token_s + by_s,
        end_s=None if span.end_s is None else span.end_s + by_s,
    )


def _deciding(segments: Sequence[Trace]) -> Trace:
    """The segment whose end was that of the run."""
    ended = [each for each in segments if each.status != _CANCELLED] or segments
    return max(ended, key=lambda each: each.began_t + each.duration_s)


def _one_after_another(segments: Sequence[Trace], later_s: Sequence[float]) -> tuple[Span, ...]:
    """All spans by the time they became ready; the first of a segment wait for earlier ones."""
    taken: set[str] = set()
    spans: list[Span] = []
    for segment, by_s in zip(segments, later_s, strict=True):
        names = _names(segment, taken)
        taken.update(names.values())
        spans += (_renamed(shifted(span, by_s), names) for span in segment.spans)
    spans.sort(key=lambda span: span.ready_s)
    return tuple(_after_earlier(spans))


def _names(segment: Trace, taken: set[str]) -> dict[str, str]:
    """By path the name in the run: the same node of a later turn has its query's name too."""
    paths = (span.node for span in segment.spans)
    return {path: f"{segment.query}.{path}" if path in taken else path for path in paths}


def _renamed(span: Span, names: Mapping[str, str]) -> Span:
    return replace(span, node=names[span.node], deps=tuple(names[path] for path in span.deps))


def _after_earlier(spans: Sequence[Span]) -> Iterable[Span]:
    """What opens a segment waits for what ended last before it, else for what still runs then,
    as a plan does whose tasks begin while it is written."""
    ended = sorted((span.end_s, span.node) for span in spans if span.end_s is not None)
    ends = [end for end, _ in ended]
    for number, span in enumerate(spans):
        place = bisect_right(ends, span.ready_s)
        if span.deps or not number:
            yield span
        elif place and ended[place - 1][1] != span.node:
            yield replace(span, deps=(ended[place - 1][1],))
        else:
            yield replace(span, deps=(spans[number - 1].node,))
