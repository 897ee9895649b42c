"""Which files are teola's own or an installed library's, and which a user's."""

import contextlib
import os
from functools import cache
from pathlib import Path

_HOME = Path(__file__).resolve().parent.parent.parent
_ROOMS = ("teola", "frontend_dsl", "graph_opt", "runtime", "backends")

OWN_FILES = (*(str(_HOME / name) + os.sep for name in _ROOMS), contextlib.__file__)  # beginnings


def is_library(file: str) -> bool:
    """Whether a file is teola's or an installed library's; a cell of a notebook is neither."""
    return file.startswith(_libraries())


@cache
def _libraries() -> tuple[str, ...]:
    import sysconfig  # late: it reads how Python was built

    return (*OWN_FILES, *sysconfig.get_paths().values())
