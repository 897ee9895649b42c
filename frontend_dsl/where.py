"""Where in the user's code we are."""

import linecache
import os
import re
import sys
import traceback
from itertools import islice
from types import FrameType
from typing import Any

from backends.tools.library_code import OWN_FILES, is_library


def user_frame() -> tuple[str, int]:
    """File and line of the innermost frame of the user's: of an app in a library, of that."""
    frame = _users_frame()
    return short_path(frame.f_code.co_filename), frame.f_lineno


def user_place() -> tuple[str, int] | None:
    """The same, or None where no code of the user's is running, as in a task of ours."""
    file, line = user_frame()
    return (file, line) if is_users(file) else None


def user_module() -> dict[str, Any]:
    """The variables of the module that frame runs in."""
    return _users_frame().f_globals


def _users_frame() -> FrameType:
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(OWN_FILES):
        frame = frame.f_back
    users: FrameType | None = frame
    while users is not None and is_library(users.f_code.co_filename):
        users = users.f_back
    return users or frame


def is_users(file: str) -> bool:
    """Whether a file is neither teola's nor an installed library's."""
    return not is_library(file) and not file.startswith("<")


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
