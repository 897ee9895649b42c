"""The user's calls of a query as a tree, each with its time; below them, if asked, primitives."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from teola.viewer.calls import Call, call_tree
from teola.viewer.critical_path import critical_path
from teola.viewer.formats import number_or_blank, percent, seconds
from teola.viewer.model import Span, Trace, total_usage
from teola.viewer.tables import name_cell, number_table

_KINDS = ("prefill", "cached", "decode")
_PLACES_FROM_WIDTH = 90


def tree(trace: Trace, width: int, with_primitives: bool = False) -> Table:
    """A table whose first column is the tree.

    `time` is from the first ready to the last end; `critical` is the part of the query's time
    that the call's primitives hold on the critical path.
    """
    usage = total_usage(trace.spans)
    kinds = [kind for kind in _KINDS if getattr(usage, f"{kind}_tokens")]
    places = ["where"] if width >= _PLACES_FROM_WIDTH else []
    table = number_table("call", ["start", "time", "critical", *kinds], *places)
    on_path = {step.span.node: step.total_s for step in critical_path(trace).steps}
    for row in _rows(trace, call_tree(trace), "", with_primitives):
        cells = _numbers(trace, row.spans, on_path, kinds)
        table.add_row(row.label, *cells, *([name_cell((row.place, "dim"))] if places else []))
    return table


@dataclass(frozen=True, slots=True)
class _Row:
    label: Text
    spans: tuple[Span, ...]
    place: str = ""


def _rows(trace: Trace, call: Call, guide: str, with_primitives: bool) -> Iterator[_Row]:
    children: list[Call | Span] = [*(call.spans if with_primitives else ()), *call.calls.values()]
    for child in children:
        is_last = child is children[-1]
        branch = guide + ("└─ " if is_last else "├─ ") if call.path else ""
        if isinstance(child, Span):
            yield _Row(_primitive_label(branch, child), (child,))
            continue
        label = name_cell((branch, "dim"), (child.name, "bold"))
        yield _Row(label, tuple(child.all_spans()), trace.places.get(child.path, ""))
        inner = guide + ("   " if is_last else "│  ") if call.path else ""
        yield from _rows(trace, child, inner, with_primitives)


def _primitive_label(branch: str, span: Span) -> Text:
    mark = (" failed", "red") if span.error else ""
    place = (f" at {span.endpoint.partition('//')[2]}", "dim") if span.endpoint else ""
    return name_cell((branch, "dim"), span.node, (f" {span.op}", "cyan"), place, mark)


def _numbers(
    trace: Trace, spans: tuple[Span, ...], on_path: Mapping[str, float], kinds: list[str]
) -> list[str]:
    begin = min(span.ready_s for span in spans)
    end = max(map(trace.end_of, spans))
    critical = sum(on_path.get(span.node, 0.0) for span in spans)
    usage = total_usage(spans)
    return [
        seconds(begin),
        seconds(end - begin),
        percent(critical, trace.duration_s) if critical else "",
        *(number_or_blank(getattr(usage, f"{kind}_tokens")) for kind in kinds),
    ]
