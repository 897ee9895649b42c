"""What `teola simulate` shows: the figures of policies side by side, and a bar while it runs."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from teola.cli.failures import CommandError
from teola.simulation.served import Figures

ROWS = (
    ("mean_s", "mean s"),
    ("p50_s", "P50 s"),
    ("p95_s", "P95 s"),
    ("p99_s", "P99 s"),
    ("ttft_mean_s", "TTFT mean s"),
    ("ttft_p99_s", "TTFT P99 s"),
    ("queries_s", "queries/s"),
    ("decoded_tokens_s", "tokens/s"),
    ("cached_share", "prompt cached"),
    ("preemptions", "preemptions"),
    ("wasted_tokens", "wasted tokens"),
    ("failed", "failed"),
)


def figures_table(app: str, found: Mapping[str, Figures]) -> Table:
    """A column for each policy."""
    table = Table(title=f"{app} simulated", title_justify="left")
    table.add_column("")
    for policy in found:
        table.add_column(policy, justify="right")
    for name, title in ROWS:
        table.add_row(title, *(_cell(getattr(figures, name)) for figures in found.values()))
    for engine in next(iter(found.values())).utilisation:
        shares = (f"{figures.utilisation[engine]:.0%}" for figures in found.values())
        table.add_row(f"{engine} busy", *shares)
    return table


def _cell(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def check_any(found: Mapping[str, Figures]) -> None:
    """Raises CommandError where no query came, or every one failed."""
    if not any(figures.queries for figures in found.values()):
        raise CommandError("no query comes within the duration: give a longer one")
    if all(figures.failed == figures.queries for figures in found.values()):
        first = next(iter(found.values())).first_error
        raise CommandError(f"every query failed; the first: {first}")


class ShownProgress:
    """The bar of all runs."""

    def __init__(self, bar: Progress, total: int) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=total)
        self._before = 0

    def begin(self, what: str, before: int) -> None:
        """The next run, of which the bar says what it is."""
        self._before = before
        self._bar.update(self._task, description=what, completed=before)

    def ended(self, count: int) -> None:
        """So many queries of the run that is under way."""
        self._bar.update(self._task, completed=self._before + count)


@contextmanager
def shown_progress(console: Console, total: int) -> Iterator[ShownProgress]:
    """A bar on a terminal. What apps print meanwhile goes to stderr."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    is_hidden = not console.is_terminal
    with (
        redirect_stdout(sys.stderr),  # what apps print
        Progress(
            *columns,
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=is_hidden,
            redirect_stdout=False,
        ) as bar,
    ):
        yield ShownProgress(bar, total)
