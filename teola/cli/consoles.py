"""The two places to write to: data on stdout, all else on stderr."""

import os
import sys

from rich.console import Console

_WIDTH_WITHOUT_TERMINAL = 100


def stdout_console(no_color: bool = False) -> Console:
    return _console(no_color, stderr=False)


def stderr_console(no_color: bool = False) -> Console:
    return _console(no_color, stderr=True)


def _console(no_color: bool, stderr: bool) -> Console:
    is_plain = no_color or bool(os.environ.get("NO_COLOR"))
    stream = sys.stderr if stderr else sys.stdout
    has_width = stream.isatty() or "COLUMNS" in os.environ
    return Console(
        stderr=stderr,
        color_system=None if is_plain else "auto",
        width=None if has_width else _WIDTH_WITHOUT_TERMINAL,
        markup=False,  # graphs are full of [ ]
        emoji=False,
        highlight=False,
    )
