"""Where in the user's code we are."""

import contextlib
import os
import sys
from pathlib import Path

_HOME = Path(__file__).resolve().parent.parent
_NOT_USERS = (
    *(str(_HOME / name) for name in ("teola", "frontend_dsl", "graph_opt", "runtime", "backends")),
    contextlib.__file__,
)


def user_frame() -> tuple[str, int]:
    """File and line of the innermost frame that is not teola's own."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_USERS):
        frame = frame.f_back
    return short_path(frame.f_code.co_filename), frame.f_lineno


def short_path(file: str) -> str:
    """The path as a person would write it here: relative when it is below this folder."""
    here = os.getcwd() + os.sep
    return file.removeprefix(here)
