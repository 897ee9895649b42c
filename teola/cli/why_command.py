"""`teola trace FILE --why [NODE]`: what primitives waited for."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from rich.text import Text

from teola.cli.consoles import stdout_console
from teola.cli.failures import UsageError, reported
from teola.viewer.model import Span, Trace
from teola.viewer.reading import read_trace_file
from teola.viewer.summary import header
from teola.viewer.why import why_lines, why_table

_LIMIT = 20  # primitives of a query shown without --all


def show_why(words: Sequence[Path], show_all: bool, no_color: bool, debug: bool) -> None:
    """The whole command: of the named primitives sentences, else a table a query."""
    with reported(debug):
        path, *names = words
        file = read_trace_file(path)
        console = stdout_console(no_color)
        for trace, span in _named(file.runs, [str(name) for name in names]):
            console.print(Text("\n".join((*why_lines(trace, span), ""))))
        for trace in () if names else file.runs:
            console.print(header(trace))
            console.print(why_table(trace, 0 if show_all else _LIMIT))
        if file.warning:
            console.print(Text(f"\nwarning: {file.warning}", "yellow"))


def _named(traces: Sequence[Trace], names: Sequence[str]) -> list[tuple[Trace, Span]]:
    """The primitives of these names, with their query or without. Raises UsageError."""
    spans = [(trace, span) for trace in traces for span in trace.spans]
    found = []
    for name in names:
        own = [(trace, span) for trace, span in spans if name in (span.node, span.at)]
        if not own:
            near = get_close_matches(name, {span.node for _, span in spans}, n=3)
            hint = f"; near it: {', '.join(near)}" if near else ""
            raise UsageError(f"the trace has no primitive {name!r}{hint}")
        found += own
    return found
