"""`teola trace FILE`."""

from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from teola.cli.consoles import stdout_console
from teola.cli.failures import CommandError, UsageError, reported
from teola.cli.results import json_text
from teola.viewer.comparison_page import comparison_page
from teola.viewer.page import page
from teola.viewer.reading import read_trace_file
from teola.viewer.to_json import file_as_json

_LIMIT = 20  # primitives an engine shown without --all


def one_file(files: Sequence[Path], beside: Path | None, debug: bool) -> Path:
    """The only file, for what shows no two; ends the process for others."""
    with reported(debug):
        if len(files) > 1 or beside is not None:
            raise UsageError("two files are shown beside each other by --web only")
        return files[0]


def show_trace(
    path: Path,
    level: str,
    with_plan: bool,
    as_json: bool,
    show_all: bool,
    no_color: bool,
    debug: bool,
) -> None:
    """Print every query of the file."""
    with reported(debug):
        if level not in ("user", "primitive"):
            raise UsageError(f"--level is user or primitive, not {level!r}")
        file = read_trace_file(path)
        if with_plan and all(trace.expected is None for trace in file.traces):
            raise CommandError(f"{path} does not say what its plan expected; run the app again")
        if as_json:
            print(json_text(file_as_json(file), indent=2))
            return
        console = stdout_console(no_color)
        for number, trace in enumerate(file.traces if with_plan else file.runs):
            if number:
                console.print()
            limit = 0 if show_all else _LIMIT
            if with_plan:
                console.print(comparison_page(trace, console.width, limit))
            else:
                console.print(page(trace, console.width, level == "primitive", limit))
        if file.warning:
            console.print(Text(f"\nwarning: {file.warning}", "yellow"))
