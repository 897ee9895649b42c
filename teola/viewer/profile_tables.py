"""Measured latencies as tables: one an op, a line a batch size, a column a length."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from runtime.cost.curves import Curve, Row, Surface
from runtime.cost.latency import MEASURES, LatencyModel
from runtime.cost.profile_store import Profile
from teola.viewer.formats import seconds
from teola.viewer.tables import name_cell, number_table


def profile_tables(model: LatencyModel) -> Iterator[RenderableType]:
    """A title and a table for each op."""
    for op, surface in model.ops.items():
        size_name, length_name, _ = MEASURES[op]
        title = Text.assemble((f"\n{op}", "bold"), (f"  {_meaning(op)}", "dim"))
        yield Group(title, _table(surface, size_name, length_name), _verdict(op, model))


def one_line_each(profiles: Sequence[Profile]) -> Table:
    """What there is a profile of."""
    table = number_table("engine", [], "ops", "batch", "device", "made")
    for profile in profiles:
        key = profile.key
        label = name_cell((key.kind, "cyan"), f" {key.model}")
        made = profile.made[:16].replace("T", " ")
        table.add_row(label, ", ".join(profile.model.ops), _batch(profile), key.device, made)
    return table


def _meaning(op: str) -> str:
    return "seconds for one token of each sequence" if op == "decode" else "seconds a batch"


def _table(surface: Surface, size_name: str, length_name: str) -> Table:
    """Only what was measured: rows need not reach equally far, and may hold other sizes."""
    lengths = [f"{row.length:,.0f}" for row in surface.rows]
    table = number_table(size_name, lengths if len(lengths) > 1 else ["time"])
    table.caption = f"columns: {length_name}" if len(lengths) > 1 else None
    table.caption_justify = "left"
    for size in _sizes(surface):
        cells = [_cell(row.curve, size) for row in surface.rows]
        table.add_row(f"{size:,}", *cells)
    return table


def _sizes(surface: Surface) -> list[int]:
    """Powers of two stand for what was measured near them: tokens never come out even."""
    return sorted({_nearest_power(size) for row in surface.rows for size, _ in row.curve.points})


def _cell(curve: Curve, size: int) -> str:
    near = [s for measured, s in curve.points if _nearest_power(measured) == size]
    return seconds(near[-1]) if near else ""


def _nearest_power(size: float) -> int:
    power = 1
    while power * 1.5 < size:
        power *= 2
    return power


def _verdict(op: str, model: LatencyModel) -> Text:
    if op == "prefill":
        curve = model.surface(op).rows[0].curve
        size, last_s = curve.points[-1]
        return Text(f"{size / last_s:,.0f} tokens a second at {size:,.0f}", "green")
    known = model.efficient_batch(op)
    row, size = _fastest(model.surface(op))
    made = "tokens" if op == "decode" else MEASURES[op][0]
    rate = f"{_number(size / row.curve.seconds(size))} {made} a second"
    pays = f"batches of up to {known:,} pay" if known else "larger batches may pay"
    return Text(f"{pays}; at most {rate}, {size:,} of length {row.length:,.0f}", "green")


def _fastest(surface: Surface) -> tuple[Row, int]:
    sizes = [(row, int(size)) for row in surface.rows for size, _ in row.curve.points]
    return max(sizes, key=lambda each: each[1] / max(1e-9, each[0].curve.seconds(each[1])))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _batch(profile: Profile) -> str:
    ops = [op for op in profile.model.ops if op != "prefill"]
    return ", ".join(f"{op} {profile.model.efficient_batch(op) or 'any'}" for op in ops)
