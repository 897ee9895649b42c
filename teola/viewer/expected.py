"""What a plan expects, as tables: the critical path and the engines' work, before and after."""

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from graph_opt.analysis.advice import Advice
from teola.estimate import Estimate
from teola.plan import Plan, source_of
from teola.viewer.formats import percent, seconds
from teola.viewer.tables import name_cell, number_table

_LEAST = 0.002  # of the path; shorter steps are counted together
_BARS_FROM_WIDTH = 90
_BAR_LEN = 20


def path_table(before: Estimate, after: Estimate, width: int) -> Table:
    """What each primitive adds to the critical path of the two graphs, in their order."""
    bars = [""] if width >= _BARS_FROM_WIDTH else []
    table = number_table("step", ["before", "after", "share"], *bars)
    adds = [{step.node: step.adds_s for step in each.path} for each in (before, after)]
    ops = {step.node: step.op for step in (*before.path, *after.path)}
    rest = [0.0, 0.0]
    for node in _merged([step.node for step in before.path], [step.node for step in after.path]):
        times = [times.get(node, 0.0) for times in adds]
        if times[0] < _LEAST * before.path_s and times[1] < _LEAST * after.path_s:
            rest = [rest[0] + times[0], rest[1] + times[1]]
            continue
        share = times[1] / after.path_s if after.path_s else 0.0
        bar = [Text("█" * round(_BAR_LEN * share), "magenta")] if bars else []
        label = name_cell(node, (f" {ops[node]}", "cyan"))
        table.add_row(label, *map(_or_blank, times), percent(share, 1.0) if times[1] else "", *bar)
    if any(rest):
        table.add_row(name_cell(("shorter ones", "dim")), *map(_or_blank, rest), "")
    whole = [seconds(before.path_s), seconds(after.path_s)]
    table.add_row(Text("together", "bold"), *whole, "", style="bold")
    return table


def work_table(made: Plan) -> Table:
    """The work of each engine, and where the numbers come from."""
    before, after = made.expected_before, made.expected_after
    table = number_table("engine", ["before", "after", "batch"], "device", "numbers")
    for name in dict.fromkeys((*before.work_s, *after.work_s)):
        engine = made.engines.get(name)
        work = [seconds(each.work_s.get(name, 0.0)) for each in (before, after)]
        batch = str(engine.batch_items) if engine is not None else ""
        source = source_of(engine) if engine is not None else "default"
        placed = made.placed.get(name)
        device = name_cell((placed.device if placed is not None else "", "dim"))
        table.add_row(name_cell(name), *work, batch, device, name_cell((source, "dim")))
    whole = [seconds(before.total_work_s), seconds(after.total_work_s)]
    table.add_row(Text("together", "bold"), *whole, "", "", "", style="bold")
    for name in dict.fromkeys((*before.device_s, *after.device_s)):
        busy = [seconds(each.device_s.get(name, 0.0)) for each in (before, after)]
        table.add_row(name_cell((f"device {name} busy", "dim")), *busy, "", "", "")
    return table


def advice_lines(advice: Sequence[Advice]) -> Iterator[Text]:
    for each in advice:
        where = f" {each.origin.file}:{each.origin.line}" if each.origin else ""
        yield Text.assemble((f"%{each.node}", "cyan"), (where, "dim"), f"  {each.message}")


def _merged(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """All names once, in an order that keeps both where that is possible."""
    merged = list(first)
    at = 0
    for name in second:
        if name in merged:
            at = merged.index(name) + 1
        else:
            merged.insert(at, name)
            at += 1
    return merged


def _or_blank(value_s: float) -> str:
    return seconds(value_s) if value_s else ""
