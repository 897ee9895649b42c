"""A query in a few lines: how it went, what it cost, and what its time was spent on."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from teola.viewer.critical_path import CriticalPath, critical_path
from teola.viewer.formats import count, percent, seconds, tokens
from teola.viewer.fusion import fused_prompts, fusion_line
from teola.viewer.model import Trace, whole_usage
from teola.viewer.tables import name_cell, number_table

_BARS_FROM_WIDTH = 90
_BAR_LEN = 24


def header(trace: Trace) -> RenderableType:
    """App, status, time, tokens."""
    colour = {"ok": "green", "running": "yellow"}.get(trace.status, "red")
    first = Text.assemble(
        (trace.app or "?", "bold"),
        f"  query {trace.query}{_segments(trace)}  ",
        (trace.status, f"bold {colour}"),
        f"  {seconds(trace.duration_s)}{loading(trace)}",
        "" if trace.optimized else ("  not optimized", "yellow"),
        (f"  within {trace.within}" if trace.within else "", "cyan"),
        (f"  {trace.began}", "dim"),
    )
    lines = [first, Text(f"{sizes(trace)}, {tokens(whole_usage(trace))}")]
    if prompts := fused_prompts(trace):
        lines.append(Text(fusion_line(prompts)))
    if trace.error:
        lines.append(Text(trace.error, "red"))
    if trace.warning:
        lines.append(Text(trace.warning, "yellow"))
    return Group(*lines)


def sizes(trace: Trace) -> str:
    """`14 primitives in 12 batches`."""
    batches = count(trace.num_batches, "batch", "batches")
    return f"{count(trace.num_spans, 'primitive')} in {batches}"


def _segments(trace: Trace) -> str:
    return f" and {len(trace.queries) - 1} more" if len(trace.queries) > 1 else ""


def loading(trace: Trace) -> str:
    """` (up to 5.1 s of it loading engines)`, or nothing when they were there."""
    return f" (up to {seconds(trace.load_s)} of it loading engines)" if trace.load_s else ""


def run_summary(trace: Trace) -> str:
    """Two lines for the end of a run."""
    whole = f"{seconds(trace.duration_s)}{loading(trace)}"
    cost = f"{whole}, {tokens(whole_usage(trace))}, {sizes(trace)}"
    path = path_line(critical_path(trace), trace.duration_s)
    return f"{cost}\n{path}" if path else cost


def path_line(path: CriticalPath, whole_s: float, limit: int = 8) -> str:
    """`critical path: expand 40% > map/search 5% > answer 50%`; what is below 1% is left out."""
    longest = sorted((time for _, time in path.by_call), reverse=True)[:limit]
    least_s = max(whole_s / 100, min(longest, default=0.0))
    parts = [f"{call} {percent(t, whole_s)}" for call, t in path.by_call if t >= least_s]
    return f"critical path: {' > '.join(parts)}" if parts else ""


def critical_path_table(trace: Trace, width: int) -> Table:
    """Each step with its share of the query, and where that went."""
    path = critical_path(trace)
    bars = [""] if width >= _BARS_FROM_WIDTH else []
    table = number_table("step", ["idle", "queued", "ran", "total", "share"], *bars)
    for step in path.steps:
        label = name_cell(step.span.node, (f" {step.span.op}", "cyan"))
        parts = [seconds(step.idle_s), seconds(step.queue_s), seconds(step.run_s)]
        table.add_row(label, *parts, *_total(trace, step.total_s, bool(bars)))
    if path.steps:
        label = name_cell(("after the last", "dim"))
        table.add_row(label, "", "", "", *_total(trace, path.tail_s, bool(bars)))
    return table


def _total(trace: Trace, time_s: float, with_bar: bool) -> list[RenderableType]:
    share = time_s / trace.duration_s if trace.duration_s else 0.0
    cells: list[RenderableType] = [seconds(time_s), percent(time_s, trace.duration_s)]
    return [*cells, Text("█" * round(_BAR_LEN * share), "magenta")] if with_bar else cells
