"""A folder that is read and written on a thread of its own: the event loop never waits for a disk,
nor for another process that holds the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from runtime.memo.aside import aside
from runtime.memo.folder import Folder

MOST_WAITING = 1000  # writes; beyond them values are not kept


class LateFolder:
    """Reads see all writes before them."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, "teola-memo")
        self._num_waiting = 0

    def get(self, keys: Sequence[bytes], then: Callable[[dict[bytes, Any]], None]) -> None:
        """Tell, on the running loop, those of the keys that are there, with their values."""
        aside(lambda: self._get(keys), then, self._thread)

    def put(self, values: Mapping[bytes, Any]) -> None:
        """Keep the values that can be kept, soon."""
        if self._num_waiting < MOST_WAITING:
            self._num_waiting += 1
            self._thread.submit(self._put, values)

    def _get(self, keys: Sequence[bytes]) -> dict[bytes, Any]:
        try:
            return self._folder.get_many(keys)
        except Exception:  # whoever asks would wait for ever; the folder said what is wrong
            return {}

    def _put(self, values: Mapping[bytes, Any]) -> None:
        try:
            self._folder.put_many(values)
        finally:
            self._num_waiting -= 1

    def close(self) -> None:
        """When all is written."""
        self._thread.shutdown()
        self._folder.close()
