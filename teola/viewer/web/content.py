"""A trace file as the JSON that the page draws. Seconds from the begin of the file's first query;
spans by their place in their query; what is 0, false or empty is left out of a span."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any

from backends.base import Usage
from teola.viewer.calls import Call, call_tree
from teola.viewer.critical_path import CriticalPath, critical_path
from teola.viewer.model import Span, Trace, total_usage, whole_usage, without_indices
from teola.viewer.reading import TraceFile
from teola.viewer.web.drawing import drawing
from teola.viewer.why import WORTH_S, wait_lines

_COUNTS = tuple(field.name for field in fields(Usage))


def file_content(name: str, file: TraceFile) -> dict[str, Any]:
    """All queries of a file, the segments of an `async def` app as one."""
    first_t = min(trace.began_t for trace in file.runs)
    return {
        "name": name,
        "warning": file.warning,
        "queries": [_query(trace, trace.began_t - first_t) for trace in file.runs],
    }


def _query(trace: Trace, offset_s: float) -> dict[str, Any]:
    path = critical_path(trace)
    places = {span.node: place for place, span in enumerate(trace.spans)}
    shared = _Shared(places)
    spans = [_span(trace, span, shared) for span in trace.spans]
    return {
        "id": trace.query,
        "app": trace.app,
        "status": trace.status,
        "error": trace.error,
        "warning": trace.warning,
        "optimized": trace.optimized,
        "began": trace.began,
        "within": trace.within,
        "num_queries": len(trace.queries),
        "offset_s": round(offset_s, 6),
        "duration_s": _s(trace.duration_s),
        "load_s": _s(trace.load_s),
        "num_spans": trace.num_spans,
        "num_batches": trace.num_batches,
        "usage": usage_counts(whole_usage(trace)),
        "spans": spans,
        "dep_lists": shared.dep_lists,
        "lines": [*shared.lines],
        "path": _path(path, places),
        "calls": [*_calls(trace, call_tree(trace), path, 0)],
        "drawing": drawing(trace, path),
    }


class _Shared:
    """What many spans have in common stands in the page once."""

    def __init__(self, places: Mapping[str, int]) -> None:
        self.dep_lists: list[list[int]] = []
        self.lines: dict[str, int] = {}
        self._places = places
        self._known: dict[int, int] = {}  # by the tuple's id: items of a map share one

    def deps(self, span: Span) -> int | None:
        if not span.deps:
            return None
        if id(span.deps) not in self._known:
            self._known[id(span.deps)] = len(self.dep_lists)
            self.dep_lists.append([self._places[path] for path in span.deps])
        return self._known[id(span.deps)]

    def line(self, span: Span) -> int | None:
        return self.lines.setdefault(span.line, len(self.lines)) if span.line else None


def _span(trace: Trace, span: Span, shared: _Shared) -> dict[str, Any]:
    expected = trace.expected
    found = {
        "node": span.node,
        "op": span.op,
        "engine": span.engine,
        "call": span.call,
        "ready_s": _s(span.ready_s),
        "start_s": _s(trace.start_of(span)),
        "end_s": _s(trace.end_of(span)),
        "first_s": None if span.first_token_s is None else _s(span.first_token_s),
        "never_ran": span.start_s is None,
        "unfinished": not span.has_ended,
        "items": span.items,
        "batch": span.batch,
        "batch_size": span.batch_size,
        "load_s": _s(span.load_s),
        "endpoint": span.endpoint,
        "error": span.error,
        "finish_reason": span.finish_reason,
        "retries": [asdict(retry) for retry in span.retries],
        "text": span.text,
        "why": _why(trace, span),
        "where": trace.places.get(span.call, ""),
        "usage": usage_counts(span.usage),
        "fusion": None if span.fusion is None else asdict(span.fusion),
        "expected_s": expected and expected.seconds.get(without_indices(span.node)),
        "deps": shared.deps(span),
        "line": shared.line(span),
        "inside": [inside.query for inside in trace.inside_of(span)],
    }
    return {name: value for name, value in found.items() if _is_told(name, value)}


def _why(trace: Trace, span: Span) -> list[str]:
    """Sentences on its wait, causes indented; none where it did not wait and its engine told
    nothing."""
    told = span.wait.behind or span.served or trace.queue_s(span) >= WORTH_S
    return [*wait_lines(trace, span)] if told else []


def _is_told(name: str, value: Any) -> bool:
    if name in ("batch", "deps", "line", "first_s"):
        return value is not None
    return name in ("ready_s", "start_s", "end_s") or bool(value)


def usage_counts(usage: Usage) -> dict[str, int]:
    """The counts that are not 0."""
    return {name: number for name in _COUNTS if (number := getattr(usage, name))}


def _path(path: CriticalPath, places: Mapping[str, int]) -> dict[str, Any]:
    steps = [
        {
            "span": places[step.span.node],
            "idle_s": _s(step.idle_s),
            "queue_s": _s(step.queue_s),
            "run_s": _s(step.run_s),
        }
        for step in path.steps
    ]
    return {"steps": steps, "tail_s": _s(path.tail_s)}


def _calls(trace: Trace, call: Call, path: CriticalPath, depth: int) -> Iterator[dict[str, Any]]:
    for inner in call.calls.values():
        spans = tuple(inner.all_spans())
        ready_s = min(span.ready_s for span in spans)
        yield {
            "name": inner.name,
            "path": inner.path,
            "depth": depth,
            "where": trace.places.get(inner.path, ""),
            "num_spans": len(spans),
            "start_s": _s(ready_s),
            "time_s": _s(max(map(trace.end_of, spans)) - ready_s),
            "critical_s": _s(_critical_s(path, inner.path)),
            "usage": usage_counts(total_usage(spans)),
            "chunks": sum(span.fusion.num_chunks for span in spans if span.fusion),
            "encoded": sum(span.fusion.num_encoded for span in spans if span.fusion),
        }
        yield from _calls(trace, inner, path, depth + 1)


def _critical_s(path: CriticalPath, call: str) -> float:
    steps = (s for s in path.steps if s.span.call == call or s.span.call.startswith(f"{call}/"))
    return sum(step.total_s for step in steps)


def _s(value: float) -> float:
    return round(value, 6)
