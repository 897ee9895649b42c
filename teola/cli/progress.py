"""What a running query is doing now, as lines that renew themselves on a terminal."""

import time
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from runtime.events import Event
from teola.viewer.formats import count, seconds
from teola.viewer.model import Span
from teola.viewer.runs import RunBuilder

_MAX_LINES = 8
_FIRST_AFTER_S = 0.3  # a quick run shows nothing


class Progress:
    """Shows the unfinished primitives of `builder`, one line for each call and op."""

    def __init__(self, console: Console, builder: RunBuilder) -> None:
        self._builder = builder
        self._pieces: Counter[str] = Counter()  # of decoded text, by query and path
        self._began = time.monotonic()
        self._spinner = Spinner("dots")
        self._live: Live | None = Live(console=console, auto_refresh=False, transient=True)
        self._is_shown = False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def count_text(self, event: Event) -> None:
        self._pieces[f"{event.query}.{event.node}"] += 1

    def refresh(self) -> None:
        """Draw anew; called from time to time on the thread that feeds the builder."""
        elapsed = time.monotonic() - self._began
        if self._live is None or elapsed < _FIRST_AFTER_S:
            return
        if not self._is_shown:
            self._live.start()
            self._is_shown = True
        self._live.update(self._view(elapsed), refresh=True)

    def stop(self) -> None:
        """Wipe it from the terminal for good."""
        if self._live is not None and self._is_shown:
            self._live.stop()
        self._live = None

    def _view(self, elapsed: float) -> RenderableType:
        spans = self._builder.spans
        groups: dict[tuple[str, str, str], list[Span]] = {}
        for span in spans:
            if not span.has_ended:
                groups.setdefault((span.call, span.op, span.engine), []).append(span)
        done = sum(span.has_ended for span in spans)
        self._spinner.update(text=f"{seconds(elapsed)}, {count(done, 'primitive')} done")
        table = Table.grid(padding=(0, 2))
        for (call, op, engine), group in islice(groups.items(), _MAX_LINES):
            facts = self._facts(group, elapsed)
            table.add_row(Text(f"  {call}", "bold"), Text(op, "cyan"), engine, Text(facts, "dim"))
        if len(groups) > _MAX_LINES:
            table.add_row(f"  and {len(groups) - _MAX_LINES} more")
        return Group(self._spinner, table)

    def _facts(self, group: Sequence[Span], elapsed: float) -> str:
        waiting = sum(span.start_s is None for span in group)
        running = len(group) - waiting
        pieces = sum(self._pieces[span.at] for span in group)
        items = sum(span.items for span in group)
        parts = [
            f"{running} running" if running and len(group) > 1 else "",
            f"{waiting} waiting" if waiting else "",
            f"{items} items" if items > 1 else "",
            f"{pieces} tokens" if pieces else "",
            seconds(max(0.0, elapsed - min(span.ready_s for span in group))),
        ]
        return ", ".join(filter(None, parts))
