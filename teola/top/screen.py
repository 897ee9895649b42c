"""Servers and their runs as lines for a terminal of any size."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from teola.top.views import Load, RunView, ServerView, in_order
from teola.viewer.formats import count, percent, seconds
from teola.viewer.tables import name_cell, number_table

_ID_FROM, _BAR_FROM, _WAITING_FROM = 60, 100, 80  # columns of the terminal
_BAR_LEN = 12
_HEAD_LINES = 2  # of a table of runs


def screen(
    views: Sequence[ServerView], width: int, height: int = 0, order: str = "age"
) -> RenderableType:
    """In at most `height` lines, 0 for all: runs that find no room are counted."""
    parts: list[RenderableType] = []
    with_runs = [view for view in views if view.runs]
    left = height - len(views) - (_HEAD_LINES + 2) * len(with_runs) if height else 0
    for view in views:
        parts.append(_server_line(view))
        if view.runs:
            room = max(1, left // len(with_runs)) if height else len(view.runs)
            parts += _runs(in_order(view.runs, order), width, room)
    return Group(*parts)


def _server_line(view: ServerView) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis").append(view.url, "bold")
    if view.problem:
        return line.append(f"  {_plain(view.problem)}", "yellow")
    assert view.load is not None, "it has no problem"
    about = _apps(view, view.load) if view.kind == "apps" else _engine(view.load)
    return line.append(f"  {view.kind}  ", "cyan").append(", ".join(filter(None, about)))


def _apps(view: ServerView, load: Load) -> list[str]:
    return [
        count(len(view.runs), "run"),
        f"{count(load.running, 'primitive')} running, {load.waiting} waiting",
        _rate(load.tokens_per_s),
        _share("KV", load.kv_use),
        _share("hit rate", load.hit_rate),
    ]


def _engine(load: Load) -> list[str]:
    return [
        f"{load.running} running, {load.waiting} waiting",
        _rate(load.tokens_per_s),
        _share("KV", load.kv_use),
        _share("hit rate", load.hit_rate),
    ]


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f} tokens/s"


def _share(name: str, value: float | None) -> str:
    return "" if value is None else f"{name} {percent(value, 1)}"


def _runs(runs: Sequence[RunView], width: int, room: int) -> list[RenderableType]:
    shown = runs[:room]
    first = ["run"] if width >= _ID_FROM else []
    bar = [""] if width >= _BAR_FROM else []
    waiting = ["waiting for"] if width >= _WAITING_FROM else []
    table = number_table("app", ["age", "done", "tokens"], *bar, "now", *waiting, *first)
    for run in shown:
        _add(table, run, bool(bar), bool(waiting), bool(first))
    parts: list[RenderableType] = [table]
    if len(shown) < len(runs):
        parts.append(Text(f"and {count(len(runs) - len(shown), 'more run')}", "dim"))
    return parts


def _add(table: Table, run: RunView, with_bar: bool, with_waiting: bool, with_id: bool) -> None:
    failed = (f" {run.failed} failed", "red") if run.failed else ""
    table.add_row(
        name_cell((_plain(run.app), "bold"), failed),
        seconds(run.age_s),
        f"{run.done}/{run.total}",
        f"{run.tokens:,}",
        *([_bar(run)] if with_bar else []),
        name_cell(_now(run)),
        *([name_cell((_waiting(run), "yellow"))] if with_waiting else []),
        *([name_cell((_plain(run.id[-8:]), "dim"))] if with_id else []),
    )


def _bar(run: RunView) -> Text:
    full = round(_BAR_LEN * run.done / run.total) if run.total else 0
    return Text("█" * full, "green").append("░" * (_BAR_LEN - full), "dim")


def _now(run: RunView) -> str:
    """The primitive that has run longest, and how many beside it."""
    if not run.running:
        return "waits" if run.waiting else "plain Python"
    longest = max(run.running, key=lambda work: work.seconds)
    more = f" +{run.num_running - 1}" if run.num_running > 1 else ""
    node = _plain(longest.node)
    return f"{node} {longest.op} on {longest.engine} {seconds(longest.seconds)}{more}"


def _waiting(run: RunView) -> str:
    return _plain(", ".join(f"{engine} {number}" for engine, number in run.waiting.items()))


def _plain(text: str) -> str:
    """Without what a terminal would obey: names come from servers."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
