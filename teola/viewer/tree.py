"""The user's calls of a query as a tree, each with its time; below them, if asked, primitives."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from backends.base import total
from teola.viewer.calls import Call, call_tree
from teola.viewer.critical_path import critical_path
from teola.viewer.formats import number_or_blank, percent, seconds
from teola.viewer.model import Span, Trace, total_usage, whole_usage
from teola.viewer.tables import name_cell, number_table

_KINDS = ("prefill", "cached", "fused", "decode")
_PLACES_FROM_WIDTH = 90


def tree(trace: Trace, width: int, with_primitives: bool = False) -> Table:
    """A table whose first column is the tree; calls of apps inside the query stand under theirs.

    `time` is from the first ready to the last end; `critical` is the part of the query's time
    that the call's primitives hold on the critical path.
    """
    usage = whole_usage(trace)
    kinds = [kind for kind in _KINDS if getattr(usage, f"{kind}_tokens")]
    places = ["where"] if width >= _PLACES_FROM_WIDTH else []
    table = number_table("call", ["start", "time", "critical", *kinds], *places)
    on_path = {step.span.node: step.total_s for step in critical_path(trace).steps}
    for row in _rows(trace, 0.0, call_tree(trace), "", with_primitives):
        cells = _numbers(row, on_path if row.trace is trace else {}, kinds)
        table.add_row(row.label, *cells, *([name_cell((row.place, "dim"))] if places else []))
    return table


@dataclass(frozen=True, slots=True)
class _Row:
    label: Text
    spans: tuple[Span, ...]
    trace: Trace
    began_s: float  # of its query, after the begin of the whole
    place: str = ""


_Child = tuple[Trace, float, Call | Span]


def _rows(
    trace: Trace, began_s: float, call: Call, guide: str, with_primitives: bool
) -> Iterator[_Row]:
    children = list(_children(trace, began_s, call, with_primitives))
    for number, (of, at_s, child) in enumerate(children, 1):
        is_last = number == len(children)
        branch = guide + ("└─ " if is_last else "├─ ") if call.path else ""
        if isinstance(child, Span):
            yield _Row(_primitive_label(branch, child), (child,), of, at_s)
            continue
        label = name_cell((branch, "dim"), (child.name, "bold"))
        yield _Row(label, tuple(child.all_spans()), of, at_s, of.places.get(child.path, ""))
        inner = guide + ("   " if is_last else "│  ") if call.path else ""
        yield from _rows(of, at_s, child, inner, with_primitives)


def _children(trace: Trace, began_s: float, call: Call, with_primitives: bool) -> Iterator[_Child]:
    """What stands under a call, with its query and when that began."""
    for child in (*(call.spans if with_primitives else ()), *call.calls.values()):
        yield trace, began_s, child
    for span in call.spans:
        for inside in trace.inside_of(span):
            at_s = began_s + inside.began_t - trace.began_t
            for child in call_tree(inside).calls.values():
                yield inside, at_s, child


def _primitive_label(branch: str, span: Span) -> Text:
    mark = (" failed", "red") if span.error else ""
    place = (f" at {span.endpoint.partition('//')[2]}", "dim") if span.endpoint else ""
    return name_cell((branch, "dim"), span.node, (f" {span.op}", "cyan"), place, mark)


def _numbers(row: _Row, on_path: Mapping[str, float], kinds: list[str]) -> list[str]:
    trace = row.trace
    begin = min(span.ready_s for span in row.spans)
    end = max(map(trace.end_of, row.spans))
    critical = sum(on_path.get(span.node, 0.0) for span in row.spans)
    inside = [one for span in row.spans for one in trace.inside_of(span)]
    usage = total([total_usage(row.spans), *map(whole_usage, inside)])
    return [
        seconds(row.began_s + begin),
        seconds(end - begin),
        percent(critical, trace.duration_s) if critical else "",
        *(number_or_blank(getattr(usage, f"{kind}_tokens")) for kind in kinds),
    ]
