"""Keys pressed at the terminal, without Enter; nothing where there is no terminal to read."""

import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep


class Keys:
    def __init__(self, is_there: bool) -> None:
        self._is_there = is_there

    def wait(self, seconds: float) -> str:
        """The next key, or "" after so long."""
        if not self._is_there:
            sleep(seconds)
            return ""
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return sys.stdin.read(1) if ready else ""


@contextmanager
def keys() -> Iterator[Keys]:
    """The terminal is as before at the end."""
    try:
        import termios
        import tty
    except ImportError:  # Windows: Ctrl-C ends it
        yield Keys(False)
        return
    if not sys.stdin.isatty():
        yield Keys(False)
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield Keys(True)
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
