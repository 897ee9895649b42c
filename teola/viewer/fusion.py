"""What KV cache fusion did in a query: its plan, what was reused, encoded and computed again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.table import Table

from backends.base import FusionReport
from teola.viewer.formats import count, percent, seconds
from teola.viewer.model import Trace
from teola.viewer.tables import name_cell, number_table

_SAVED_FROM_WIDTH = 80


@dataclass(frozen=True, slots=True)
class FusedPrompt:
    """One fused prompt of a query or of an app inside it."""

    node: str
    report: FusionReport
    num_fused: int  # tokens whose KV came from another place

    @property
    def num_reused(self) -> int:
        """Chunks whose KV was there. One that stands in a prompt twice is encoded once."""
        return self.report.num_chunks - self.report.num_encoded


def fused_prompts(trace: Trace) -> list[FusedPrompt]:
    """In the order they became ready, those of apps inside the query behind its own."""
    own = [FusedPrompt(s.node, s.fusion, s.usage.fused_tokens) for s in trace.spans if s.fusion]
    return own + [prompt for inside in trace.inside for prompt in fused_prompts(inside)]


def fusion_line(prompts: Sequence[FusedPrompt]) -> str:
    """`2 fused prompts: 14 chunks reused, 2 encoded, 1.24 s saved by estimate`."""
    reused = sum(prompt.num_reused for prompt in prompts)
    encoded = sum(prompt.report.num_encoded for prompt in prompts)
    saved_s = sum(prompt.report.saved_s for prompt in prompts)
    what = f"{count(len(prompts), 'fused prompt')}: {count(reused, 'chunk')} reused"
    return f"{what}, {encoded:,} encoded, {_saved(saved_s)} saved by estimate"


def fusion_table(prompts: Sequence[FusedPrompt], width: int) -> Table:
    """A line a prompt. `rows` are tokens computed on each layer, `cost` is their share of all."""
    more = ["fused", "saved"] if width >= _SAVED_FROM_WIDTH else ["saved"]
    columns = ["chunks", "encoded", "tokens", *more, "cost"]
    table = number_table("fused prompt", columns, "rows of a layer")
    for prompt in prompts:
        report = prompt.report
        table.add_row(
            name_cell(prompt.node, (f" {report.plan}", "cyan")),
            f"{report.num_chunks:,}",
            f"{report.num_encoded:,}",
            f"{report.num_tokens:,}",
            *([f"{prompt.num_fused:,}"] if len(more) > 1 else []),
            _saved(report.saved_s),
            percent(sum(report.rows), report.num_tokens * len(report.rows)),
            name_cell(rows_text(report.rows)),
        )
    return table


def rows_text(rows: Sequence[int]) -> str:
    """`1,583 x2, 310 x28`: layer by layer, equal ones that follow each other together."""
    return ", ".join(_runs(rows))


def _runs(rows: Sequence[int]) -> Iterator[str]:
    for number, layers in groupby(rows):
        times = len(list(layers))
        yield f"{number:,} x{times}" if times > 1 else f"{number:,}"


def _saved(value_s: float) -> str:
    return seconds(value_s) if value_s >= 0 else f"-{seconds(-value_s)}"
