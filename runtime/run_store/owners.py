"""Who works on a run: a file that the process holds locked, which ends with it however it ends."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from pathlib import Path
from uuid import uuid4

from backends.file_lock import file_lock, is_locked, try_file_lock

_LOOKS = 3  # another process that looks holds the file for a moment too
_BETWEEN_S = 0.005


class Owner:
    """This process, as others see it in a folder of runs. One thread at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "owners"
        self._held = ExitStack()
        self.name = ""

    def take(self) -> str:
        """The name under which this process owns runs."""
        while not self.name:
            name = uuid4().hex
            held = ExitStack()
            held.enter_context(file_lock(self._folder / name))
            if (self._folder / name).exists():  # nobody took it for one of the dead
                self.name, self._held = name, held
                self._sweep()
            else:
                held.close()
        return self.name

    def is_alive(self, name: str) -> bool:
        """Whether the process of that name still runs."""
        for _ in range(_LOOKS):
            if not name or not is_locked(self._folder / name):
                return False
            time.sleep(_BETWEEN_S)
        return True

    def forget(self, name: str) -> None:
        """Remove the file of one that is dead."""
        (self._folder / name).unlink(missing_ok=True)

    def close(self) -> None:
        if self.name:
            self.forget(self.name)
            with suppress(OSError):  # those that somebody looked at when it took its name
                self._sweep()
        self._held.close()
        self.name = ""

    def _sweep(self) -> None:
        """Remove the files of the dead. One is locked while it goes, so that a process which has
        just made it sees that it went and takes another."""
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError), try_file_lock(path) as is_dead:
                if is_dead:
                    self.forget(path.name)
