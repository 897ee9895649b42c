"""`teola trace FILE [FILE] --web [OUT.html]`: the trace as one HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from teola.cli.failures import UsageError, reported
from teola.viewer.reading import read_trace_file
from teola.viewer.web.web_page import web_page

_PAGES = (".html", ".htm")


@dataclass(frozen=True, slots=True)
class Words:
    """What the words of the command name: one or two traces, and the page to write."""

    traces: tuple[Path, ...]
    out: Path


def write_page(files: Sequence[Path], beside: Path | None, debug: bool) -> None:
    """The whole command; ends the process when anything fails."""
    with reported(debug):
        words = words_of(files, beside)
        page = web_page([(path.name, read_trace_file(path)) for path in words.traces])
        words.out.parent.mkdir(parents=True, exist_ok=True)
        size = words.out.write_bytes(page.encode())
        print(f"wrote {words.out} ({size / 1000:,.0f} kB); open it in a browser")


def words_of(files: Sequence[Path], beside: Path | None) -> Words:
    """Raises UsageError. Without a page, it stands beside the first trace."""
    has_page = len(files) > 1 and files[-1].suffix.lower() in _PAGES
    traces = (*(files[:-1] if has_page else files), *([beside] if beside else []))
    if any(path.suffix.lower() in _PAGES for path in traces):
        raise UsageError("write the trace first, then the page: teola trace FILE --web OUT.html")
    if len(traces) > 2:
        raise UsageError(f"--web shows one trace, or two beside each other, not {len(traces)}")
    name = "-".join(path.stem for path in traces)
    return Words(traces, files[-1] if has_page else traces[0].with_name(f"{name}.html"))
