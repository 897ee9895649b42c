"""The look of the viewer's tables: names give way on a narrow terminal, numbers never do."""

from collections.abc import Iterable

from rich import box
from rich.table import Table
from rich.text import Text


def number_table(first: str, numbers: Iterable[str], *more: str) -> Table:
    """A table with a column of names, columns of numbers, and columns of other names."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    for name in more:
        table.add_column(name)
    return table


def name_cell(*parts: str | tuple[str, str]) -> Text:
    """Text that is cut with an ellipsis, never wrapped."""
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")
