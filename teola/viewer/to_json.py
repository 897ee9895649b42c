"""The computed trace as plain values, for other tools."""

from dataclasses import asdict
from typing import Any

from teola.viewer.calls import Call, call_tree
from teola.viewer.comparison import compare
from teola.viewer.critical_path import critical_path
from teola.viewer.model import Span, Trace, total_usage
from teola.viewer.reading import TraceFile


def file_as_json(file: TraceFile) -> dict[str, Any]:
    """All queries of a trace file, and the runs that have several."""
    whole = [as_json(run) for run in file.runs if len(run.queries) > 1]
    queries = [as_json(trace) for trace in file.traces]
    return {"warning": file.warning or None, "queries": queries, "runs": whole}


def as_json(trace: Trace) -> dict[str, Any]:
    """One query: its spans, calls and critical path."""
    path = critical_path(trace)
    steps = [
        {"node": s.span.node, "idle_s": s.idle_s, "queue_s": s.queue_s, "run_s": s.run_s}
        for s in path.steps
    ]
    return {
        "query": trace.query,
        "run": trace.run or None,
        "app": trace.app,
        "status": trace.status,
        "error": trace.error or None,
        "warning": trace.warning or None,
        "optimized": trace.optimized,
        "began": trace.began,
        "within": trace.within or None,
        "duration_s": trace.duration_s,
        "usage": asdict(total_usage(trace.spans)),
        "num_batches": trace.num_batches,
        "spans": [_span(span) for span in trace.spans],
        "calls": [_call(trace, call) for call in call_tree(trace).calls.values()],
        "critical_path": {"steps": steps, "tail_s": path.tail_s},
        "plan": asdict(compared) if (compared := compare(trace)) is not None else None,
    }


def _span(span: Span) -> dict[str, Any]:
    return {name: value for name, value in asdict(span).items() if name != "line"}


def _call(trace: Trace, call: Call) -> dict[str, Any]:
    spans = tuple(call.all_spans())
    return {
        "name": call.name,
        "path": call.path,
        "place": trace.places.get(call.path),
        "ready_s": min(span.ready_s for span in spans),
        "end_s": max(map(trace.end_of, spans)),
        "usage": asdict(total_usage(spans)),
        "spans": [span.node for span in call.spans],
        "calls": [_call(trace, inner) for inner in call.calls.values()],
    }
