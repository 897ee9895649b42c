"""What is remembered in this process: values by key, the least recently used forgotten first."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

DEFAULT_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Entry:
    """A value with its size."""

    value: Any
    num_bytes: int


class Memory:
    """At most `max_bytes` of values. Used on one thread."""

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> Entry | None:
        """The entry, which thereby was used just now."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: bytes, entry: Entry) -> None:
        """Remember; a value larger than the whole memory is not kept."""
        if entry.num_bytes > self.max_bytes:
            return
        self._drop(key)
        self._entries[key] = entry
        self.num_bytes += entry.num_bytes
        while self.num_bytes > self.max_bytes:
            self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        self._entries.clear()
        self.num_bytes = 0

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.num_bytes -= entry.num_bytes
