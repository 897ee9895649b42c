"""A cache that forgets what was used longest ago."""

import threading
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """Keeps at most `size` entries, the most recently used. Threads may share it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: dict[K, V] = {}  # the most recently used last
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """The entry, which counts as used now, or None."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries[key] = value = self._entries.pop(key)
            return value

    def put(self, key: K, value: V) -> V:
        """Keep `value`; at `size` the entry used longest ago goes."""
        with self._lock:
            self._entries.pop(key, None)
            if len(self._entries) >= self._size:
                del self._entries[next(iter(self._entries))]
            self._entries[key] = value
            return value

    def get_or_make(self, key: K, make: Callable[[], V]) -> V:
        """The entry; made without the lock held if it is not there, so perhaps by two threads."""
        found = self.get(key)
        return self.put(key, make()) if found is None else found

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[K]:
        with self._lock:
            return iter(list(self._entries))
