"""What `teola trace --plan` shows of one query: its times beside those of its plan."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from teola.viewer.comparison import FAR_OFF, Compared, Comparison, compare
from teola.viewer.formats import count, seconds
from teola.viewer.model import Trace
from teola.viewer.summary import header
from teola.viewer.tables import name_cell, number_table

_RUNS_FROM_WIDTH = 90


def comparison_page(trace: Trace, width: int, limit: int = 0) -> RenderableType:
    """Totals, calls and primitives with predicted and actual times, in lines of at most `width`."""
    found = compare(trace)
    if found is None:
        return Group(header(trace), Text("the trace of this query holds no plan", "yellow"))
    shown = _shown(found.primitives, limit)
    parts: list[RenderableType] = [
        header(trace),
        _title("the plan and the run"),
        _table("", [found.path, found.work, *found.devices], width),
        Text(f"the plan expected to be bound by: {found.bound_by}", "dim"),
        _title("calls"),
        _table("call", found.calls, width),
        _title("primitives"),
        _table("primitive", shown, width),
    ]
    left_out = len(found.primitives) - len(shown)
    if left_out:
        parts.append(Text(f"  ... {left_out:,} shorter ones (--all)", "dim"))
    return Group(*parts, Text(), *_notes(trace, found))


def _table(first: str, rows: Sequence[Compared], width: int) -> Table:
    runs = ["runs"] if width >= _RUNS_FROM_WIDTH else []
    table = number_table(first, [*runs, "predicted", "actual", "ratio", "queued"])
    for row in rows:
        label = name_cell(row.name, (f" {row.op}" if first == "primitive" else "", "cyan"))
        times = [seconds(row.expected_s), seconds(row.actual_s)]
        number = [f"{row.num_runs:,}"] if runs else []
        table.add_row(label, *number, *times, _ratio(row), seconds(row.queue_s))
    return table


def _ratio(row: Compared) -> Text:
    if row.ratio is None:
        return Text("-", "dim")
    text = f"{row.ratio:.2f}" if row.ratio < 9.995 else f"{row.ratio:,.0f}"
    return Text(text, "bold red" if row.is_far_off else "")


def _notes(trace: Trace, found: Comparison) -> list[Text]:
    notes = []
    if found.far_off:
        names = ", ".join(f"%{row.name}" for row in found.far_off[:5])
        rest = len(found.far_off) - 5
        more = f" and {rest} more" if rest > 0 else ""
        what = count(len(found.far_off), "prediction")
        notes.append(Text(f"{what} off by more than {FAR_OFF:g} times: {names}{more}", "red"))
    else:
        notes.append(Text(f"no prediction is off by more than {FAR_OFF:g} times", "green"))
    if found.load_s:
        notes.append(Text(f"left out: up to {seconds(found.load_s)} of loading engines", "dim"))
    if found.num_unplanned:
        notes.append(Text(f"{count(found.num_unplanned, 'primitive')} not in the plan", "yellow"))
    assert trace.expected is not None, "compared above"
    sources = ", ".join(f"{name} {source}" for name, source in trace.expected.sources.items())
    notes.append(Text(f"numbers of the plan: {sources or 'defaults'}", "dim"))
    return notes


def _shown(rows: Sequence[Compared], limit: int) -> Sequence[Compared]:
    if not limit or len(rows) <= limit:
        return rows
    longest = sorted(rows, key=lambda row: -max(row.actual_s, row.expected_s))[:limit]
    return [row for row in rows if row in longest]


def _title(text: str) -> RenderableType:
    return Group(Text(), Rule(Text(text, "bold"), align="left", style="dim"))
