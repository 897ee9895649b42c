"""Pages in a folder, one file each, named by their keys; bounded, least recently used first.

The folder is one of this model and layout inside the one the user gave (`kv_folder`). All other
files in it are removed, as are incomplete or corrupt pages.
"""

import contextlib
import hashlib
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from backends.llm.kv.tiers.kv_folder import SUFFIX, KVFolder
from backends.llm.kv.tiers.page_key import DIGEST_BYTES

_MAGIC = b"teolaKV1"
_CHECKSUM_BYTES = 16
HEADER_BYTES = len(_MAGIC) + _CHECKSUM_BYTES


class BadPage(Exception):
    """A file that is not the page it is named for."""


def write_page(path: Path, key: bytes, content: bytes) -> None:
    """Whole or not at all. No fsync: a file that a crash tore fails its checksum."""
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    opened = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(opened, "wb") as file:
        file.write(_MAGIC + _checksum(key, content))
        file.write(content)
    unfinished.replace(path)


def read_page(path: Path, key: bytes, num_bytes: int | None) -> memoryview:
    """Raises BadPage, and OSError where the file cannot be read. `num_bytes` None: of any length,
    which the checksum covers."""
    found = memoryview(path.read_bytes())
    content = found[HEADER_BYTES:]
    if found[: len(_MAGIC)] != _MAGIC or len(content) != (num_bytes or len(content)):
        raise BadPage("it is no page of this engine")
    if found[len(_MAGIC) : HEADER_BYTES] != _checksum(key, content):
        raise BadPage("its checksum is wrong")
    return content


def _checksum(key: bytes, content: bytes | memoryview) -> bytes:
    digest = hashlib.blake2b(key, digest_size=_CHECKSUM_BYTES)
    digest.update(content)
    return digest.digest()


_log = logging.getLogger(__name__)
_UNFINISHED = ".tmp"  # as `write_page` names them
_UNFINISHED_S = 600  # after which its writer must have ended


class DiskTier:
    """Changed by the transfer thread alone; any thread may ask what it holds. Several processes
    may share a folder: equal names are equal pages, and a page that has gone is not found."""

    def __init__(self, shared: KVFolder, page_bytes: int | None) -> None:
        """`page_bytes` None: pages have any length."""
        self.folder = shared.folder
        self.num_bad = 0
        self._shared = shared
        self._page_bytes = page_bytes
        self._last_used: OrderedDict[bytes, int] = OrderedDict()  # bytes; least recently used first
        self.num_bytes = 0
        self._is_broken = False
        self._has_warned = False
        with shared.locked():
            self._scan()

    def __contains__(self, key: bytes) -> bool:
        return key in self._last_used

    def __len__(self) -> int:
        return len(self._last_used)

    def put(self, key: bytes, content: bytes) -> bool:
        """Write a page; False when it is not kept. A disk that takes none is warned of once."""
        assert key not in self._last_used, "written once"
        if self._is_broken:
            return False
        try:
            with self._shared.locked():
                return self._write(key, content)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and self.folder.is_dir():
                return False  # the file was removed meanwhile: one page is missed
            self._is_broken = True
            self._warn(f"cannot be written ({error}); no more KV is kept there")
            return False

    def _write(self, key: bytes, content: bytes) -> bool:
        file_bytes = HEADER_BYTES + len(content)
        self._forget(self._shared.take(file_bytes))
        try:
            write_page(self._path(key), key, content)
        except OSError:
            self._shared.give_back(file_bytes)
            raise
        self._hold(key, file_bytes)
        while self.num_bytes > self._shared.max_bytes:  # others have removed some of these
            self._lose(next(iter(self._last_used)))
        return True

    def _hold(self, key: bytes, file_bytes: int) -> None:
        self._last_used[key] = file_bytes
        self.num_bytes += file_bytes

    def _lose(self, key: bytes) -> int:
        file_bytes = self._last_used.pop(key, 0)
        self.num_bytes -= file_bytes
        return file_bytes

    def _forget(self, removed: Iterable[Path]) -> None:
        for path in removed:
            key = _key_of(path) if path.parent == self.folder else None
            if key is not None:
                self._lose(key)

    def get(self, key: bytes) -> memoryview | None:
        """The page's bytes, or None where it has gone or is not what it was."""
        try:
            return read_page(self._path(key), key, self._page_bytes)
        except BadPage as error:
            self.reject(key, str(error))
        except OSError:
            self._lose(key)  # another process has removed it
        return None

    def reject(self, key: bytes, why: str) -> None:
        """It is not what it should be; it is removed."""
        self._reject(self._path(key), why)
        self._lose(key)

    def touch(self, key: bytes) -> None:
        """It counts as used, after a restart too."""
        if key in self._last_used:
            self._last_used.move_to_end(key)
            now = time.time_ns()
            try:
                os.utime(self._path(key), ns=(now, now))
            except OSError:
                self._lose(key)

    def drop(self, key: bytes) -> None:
        file_bytes = self._lose(key)
        with contextlib.suppress(OSError), self._shared.locked():
            self._path(key).unlink()
            self._shared.give_back(file_bytes)

    def clear(self) -> None:
        for key in list(self._last_used):
            self.drop(key)

    def check_integrity(self) -> None:
        assert self.num_bytes == sum(self._last_used.values()), "the sum of bytes is off"
        assert self.num_bytes <= self._shared.max_bytes, "more pages than allowed"
        assert self._shared.num_bytes <= self._shared.max_bytes, "more on disk than allowed"

    def _scan(self) -> None:
        found: list[tuple[int, bytes, int]] = []
        for path in self.folder.iterdir():
            key = _key_of(path)
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue  # another process has removed or renamed it
            if path.suffix == _UNFINISHED and time.time() - stat.st_mtime < _UNFINISHED_S:
                continue  # another process may be writing it
            if key is None or not self._may_be_page(stat.st_size):
                self._reject(path, "it is no page of this engine")
            else:
                found.append((stat.st_mtime_ns, key, stat.st_size))
        for _, key, file_bytes in sorted(found):
            self._hold(key, file_bytes)

    def _may_be_page(self, file_bytes: int) -> bool:
        if self._page_bytes is None:
            return file_bytes > HEADER_BYTES
        return file_bytes == HEADER_BYTES + self._page_bytes

    def _reject(self, path: Path, why: str) -> None:
        self.num_bad += 1
        self._warn(f"held {path.name}: {why}; such files are removed")
        if path.is_file():
            path.unlink(missing_ok=True)

    def _warn(self, what: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            _log.warning("the KV folder %s %s", self.folder, what)

    def _path(self, key: bytes) -> Path:
        return self.folder / (key.hex() + SUFFIX)


def _key_of(path: Path) -> bytes | None:
    try:
        key = bytes.fromhex(path.stem) if path.suffix == SUFFIX else b""
    except ValueError:
        return None
    return key if len(key) == DIGEST_BYTES else None
