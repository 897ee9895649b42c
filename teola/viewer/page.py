"""The whole page that `teola trace` shows for one query."""

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.text import Text

from teola.viewer.fusion import fused_prompts, fusion_table
from teola.viewer.model import Trace
from teola.viewer.summary import critical_path_table, header
from teola.viewer.tree import tree
from teola.viewer.waterfall import RUNNING, WAITING, waterfall


def page(trace: Trace, width: int, with_primitives: bool = False, limit: int = 0) -> RenderableType:
    """Header, calls, waterfall, critical path and fused prompts, in lines of at most `width`."""
    legend = f"engines  {WAITING} waiting  {RUNNING} running"
    parts: list[RenderableType] = [header(trace)]
    if trace.spans:
        parts += [_title("calls"), tree(trace, width, with_primitives)]
        parts += [_title(legend), waterfall(trace, width, limit)]
        parts += [_title("critical path"), critical_path_table(trace, width)]
    if prompts := fused_prompts(trace):
        parts += [_title("KV cache fusion"), fusion_table(prompts, width)]
    return Group(*parts)


def _title(text: str) -> RenderableType:
    return Group(Text(), Rule(Text(text, "bold"), align="left", style="dim"))
