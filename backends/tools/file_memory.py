"""What files held when they were last read, so that an unchanged one is neither read nor parsed.

A file is taken for unchanged while its size, times and place on the disk are; one that was written
just before it was read is read again, since a second write within the clock's tick would not show.
Content is known by its digest: equal files are parsed once.
"""

import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Lock
from typing import Any, Generic, NamedTuple, TypeVar

K = TypeVar("K")
V = TypeVar("V")

MOST_CHARACTERS = 64_000_000  # of remembered text
MOST_FILES = 100_000  # whose digests are remembered
SETTLED_S = 2.0  # coarser than any file system's clock


class Stamp(NamedTuple):
    """Equal as long as nobody wrote the file."""

    size: int
    modified_ns: int
    changed_ns: int
    inode: int


class FileMemory:
    """Digests of files and the parts of their contents; bounded, safe to use from threads."""

    def __init__(
        self, most_characters: int = MOST_CHARACTERS, settled_s: float = SETTLED_S
    ) -> None:
        self._settled_s = settled_s
        self._digests: _Lru[Path, tuple[Stamp, str]] = _Lru(MOST_FILES)
        self._parts: _Lru[tuple[str, Any], tuple[Any, ...]] = _Lru(most_characters)
        self._lock = Lock()

    def digest(self, path: Path) -> str:
        """The SHA-256 of the file's content, in hex. Raises OSError."""
        return self._known_digest(path) or self._read(path)[0]

    def parts(self, path: Path, parse: Callable[[bytes], Iterable[Any]]) -> tuple[Any, ...]:
        """What `parse`, a pure function, makes of the file's content. Raises what it raises.

        Each part has a `text`; the texts are what the memory is measured by.
        """
        digest = self._known_digest(path)
        content = b""
        if digest is None or (found := self._remembered(digest, parse)) is None:
            digest, content = self._read(path)
            found = self._remembered(digest, parse)
        if found is None:
            found = tuple(parse(content))
            size = sum(len(part.text) for part in found)
            with self._lock:
                self._parts.put((digest, parse), found, size)
        return found

    def _remembered(self, digest: str, parse: Any) -> tuple[Any, ...] | None:
        with self._lock:
            return self._parts.get((digest, parse))

    def _known_digest(self, path: Path) -> str | None:
        stamp = _stamp(path)
        with self._lock:
            known = self._digests.get(path)
        return known[1] if known is not None and known[0] == stamp else None

    def _read(self, path: Path) -> tuple[str, bytes]:
        began_s, stamp = time.time(), _stamp(path)
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        written_s = max(stamp.modified_ns, stamp.changed_ns) / 1e9
        if began_s - written_s > self._settled_s:
            with self._lock:
                self._digests.put(path, (stamp, digest))
        return digest, content


def _stamp(path: Path) -> Stamp:
    found = os.stat(path)
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


class _Lru(Generic[K, V]):
    """The values used last, of at most so much size together."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._size = 0

    def get(self, key: K) -> V | None:
        if key not in self._held:
            return None
        self._held.move_to_end(key)
        return self._held[key][0]

    def put(self, key: K, value: V, size: int = 1) -> None:
        _, before = self._held.pop(key, (None, 0))
        self._held[key] = value, size
        self._size += size - before
        while self._size > self._most:
            _, (_, dropped) = self._held.popitem(last=False)
            self._size -= dropped
