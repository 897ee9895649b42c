"""Where in the user's code we are."""

import contextlib
import linecache
import os
import re
import sys
import traceback
from functools import cache
from itertools import islice
from pathlib import Path
from types import FrameType

_HOME = Path(__file__).resolve().parent.parent
_ROOMS = ("teola", "frontend_dsl", "graph_opt", "runtime", "backends")
_NOT_USERS = (*(str(_HOME / name) + os.sep for name in _ROOMS), contextlib.__file__)


def user_frame() -> tuple[str, int]:
    """File and line of the innermost frame that is not teola's own."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_USERS):
        frame = frame.f_back
    return short_path(frame.f_code.co_filename), frame.f_lineno


def is_users(file: str) -> bool:
    """Whether a file is neither teola's nor an installed library's."""
    return not is_library(file) and not file.startswith("<")


def is_library(file: str) -> bool:
    """Whether a file is teola's or an installed library's; a cell of a notebook is neither."""
    return file.startswith(_libraries())


@cache
def _libraries() -> tuple[str, ...]:
    import sysconfig  # late: it reads how Python was built

    return (*_NOT_USERS, *sysconfig.get_paths().values())


def shower_of(frame: FrameType) -> str | None:
    """What shows a text to people, if the code that runs in the frame is a call of such a thing."""
    if str(frame.f_globals.get("__name__")).partition(".")[0] == "logging":
        return "logging"
    called = _SHOWS.match(_source_at(frame))
    return None if called is None else f"{called[1]}()"


_SHOWS = re.compile(r"(?:\w+\.)*(print|pprint|pp)\s*\(")


def _source_at(frame: FrameType) -> str:
    """The first line of the expression that runs in a frame, as far as its source is known."""
    positions = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None), None)
    if positions is None or positions[0] is None or positions[2] is None:
        return ""
    line = linecache.getline(frame.f_code.co_filename, positions[0])
    return line.encode()[positions[2] :].decode("utf-8", "replace")


def place_of(error: BaseException) -> tuple[str, int]:
    """File and line in the user's code where an exception came from."""
    places = [
        (frame.filename, frame.lineno or 0)
        for frame in traceback.extract_tb(error.__traceback__)
        if is_users(frame.filename)
    ]
    file, line = places[-1] if places else user_frame()
    return short_path(file), line


def short_path(file: str) -> str:
    """The path as a person would write it here: relative when it is below this folder."""
    here = os.getcwd() + os.sep
    return file.removeprefix(here)
