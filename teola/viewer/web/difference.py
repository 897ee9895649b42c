"""Two trace files beside each other: which queries and primitives answer to each other, and what
they cost in each."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from backends.base import Usage, total
from teola.viewer.model import Span, Trace, total_usage, without_indices
from teola.viewer.reading import TraceFile
from teola.viewer.web.content import usage_counts

Pair = tuple[int | None, int | None]  # places of queries in the two files


def difference(first: TraceFile, second: TraceFile) -> dict[str, Any]:
    """Pairs of queries, and what each primitive of the plans and the whole cost, file by file."""
    files = (first.runs, second.runs)
    return {
        "pairs": pairs(*files),
        "rows": _rows(files),
        "totals": [_totals(runs) for runs in files],
    }


def pairs(first: Sequence[Trace], second: Sequence[Trace]) -> list[Pair]:
    """The n-th query of an app with the n-th of the same app; if no app is in both, by order."""
    places = [_by_app(runs) for runs in (first, second)]
    if not places[0].keys() & places[1].keys():
        return [*zip_longest(range(len(first)), range(len(second)))]
    apps = dict.fromkeys((*places[0], *places[1]))
    return [
        pair for app in apps for pair in zip_longest(places[0].get(app, ()), places[1].get(app, ()))
    ]


def _by_app(runs: Sequence[Trace]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place, trace in enumerate(runs):
        found.setdefault(trace.app, []).append(place)
    return found


def _rows(files: Sequence[Sequence[Trace]]) -> list[dict[str, Any]]:
    """A row a primitive of the plans; the sides are None where it did not run."""
    sides = [_by_primitive(runs) for runs in files]
    names = dict.fromkeys((*sides[0], *sides[1]))
    return [
        {"name": name[0], "op": name[1], "sides": [_side(side.get(name)) for side in sides]}
        for name in names
    ]


def _by_primitive(runs: Sequence[Trace]) -> dict[tuple[str, str], list[tuple[Trace, Span]]]:
    found: dict[tuple[str, str], list[tuple[Trace, Span]]] = {}
    for trace in runs:
        for span in trace.spans:
            found.setdefault((without_indices(span.node), span.op), []).append((trace, span))
    return found


def _side(ran: Sequence[tuple[Trace, Span]] | None) -> dict[str, Any] | None:
    if ran is None:
        return None
    return {
        "num_runs": len(ran),
        "queue_s": round(sum(trace.queue_s(span) for trace, span in ran), 6),
        "run_s": round(sum(trace.run_s(span) for trace, span in ran), 6),
        "usage": usage_counts(total_usage(span for _, span in ran)),
        "num_errors": sum(bool(span.error) for _, span in ran),
    }


def _totals(runs: Sequence[Trace]) -> dict[str, Any]:
    spans = [(trace, span) for trace in runs for span in trace.spans]
    usage: Usage = total([total_usage(trace.spans) for trace in runs])
    outer = [trace for trace in runs if not trace.within]
    return {
        "num_queries": len(runs),
        "num_spans": len(spans),
        "num_batches": sum(trace.num_batches for trace in outer),
        "duration_s": round(_whole_s(outer or runs), 6),
        "queue_s": round(sum(trace.queue_s(span) for trace, span in spans), 6),
        "run_s": round(sum(trace.run_s(span) for trace, span in spans), 6),
        "num_errors": sum(bool(span.error) for _, span in spans),
        "usage": usage_counts(usage),
    }


def _whole_s(runs: Sequence[Trace]) -> float:
    """From the begin of the first query to the end of the last."""
    return max(run.began_t + run.duration_s for run in runs) - min(run.began_t for run in runs)
