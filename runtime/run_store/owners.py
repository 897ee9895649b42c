"""Who works on a run: a file that the process holds locked, which ends with it however it ends."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

from backends.file_lock import file_lock, is_locked


class Owner:
    """This process, as others see it in a folder of runs. One thread at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "owners"
        self._held = ExitStack()
        self.name = ""

    def take(self) -> str:
        """The name under which this process owns runs."""
        if not self.name:
            self.name = uuid4().hex
            self._held.enter_context(file_lock(self._folder / self.name))
        return self.name

    def is_alive(self, name: str) -> bool:
        """Whether the process of that name still runs."""
        return bool(name) and is_locked(self._folder / name)

    def forget(self, name: str) -> None:
        """Remove the file of one that is dead."""
        (self._folder / name).unlink(missing_ok=True)

    def close(self) -> None:
        self._held.close()
        if self.name:
            self.forget(self.name)
        self.name = ""
