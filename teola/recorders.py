"""The files that runs are recorded to, each open until the runner closes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from backends.base import Request, Result

if TYPE_CHECKING:
    from backends.emulated.recorder import Recorder


class Recorders:
    """Used on one event loop."""

    def __init__(self) -> None:
        self._open: dict[Path, Recorder] = {}

    def of(self, path: str) -> Callable[[Request, Result], None]:
        """What writes to a file. Raises ConfigError."""
        from backends.emulated.recorder import Recorder  # late: numpy

        key = Path(path).expanduser().absolute()
        if key not in self._open:
            self._open[key] = Recorder(key)
        return self._open[key]

    def close(self) -> None:
        for recorder in self._open.values():
            recorder.close()
        self._open.clear()
