"""What is remembered on disk: one sqlite database in a folder, shared by processes.

Only values that JSON or raw numbers say whole are kept. Each row carries a checksum; a row or a
file that is damaged is left out with a warning and computed again. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backends.documents import Doc

FILE = "memo.sqlite"
DEFAULT_BYTES = 4 * 2**30
WAIT_S = 5.0  # for another process that writes
FORMAT = 1  # of keys and values: a part of every key
_MOST_USED = 1000
_CHUNK = 500  # keys a statement; sqlite takes 999 variables everywhere
_SCHEMA = """
CREATE TABLE IF NOT EXISTS memo (
    key BLOB PRIMARY KEY, value BLOB NOT NULL, sum BLOB NOT NULL, used REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS memo_used ON memo (used);
"""


class MemoWarning(UserWarning):
    """Something in the memo's folder was damaged and left out, or could not be written."""


@dataclass(frozen=True, slots=True)
class FolderStats:
    """What a folder holds."""

    num_values: int
    num_bytes: int


class Folder:
    """Values by key on disk, at most `max_bytes` of them. One thread at a time."""

    def __init__(self, path: Path, max_bytes: int = DEFAULT_BYTES, wait_s: float = WAIT_S) -> None:
        self.path = path
        self._wait_s = wait_s
        self._max_bytes = max_bytes
        self._connection: sqlite3.Connection | None = None
        self._is_broken = False
        self._used: dict[bytes, float] = {}  # read since this was last written
        self._room = 0  # bytes to write before it is looked again how much there is

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Any]:
        """Those of the keys that are there, with their values."""
        found: dict[bytes, Any] = {}
        for start in range(0, len(keys), _CHUNK):
            found.update(self._get_chunk(keys[start : start + _CHUNK]))
        return found

    def put_many(self, values: Mapping[bytes, Any]) -> None:
        """Keep the values that can be kept; the longest unused go when there are too many."""
        now = time.time()
        encoded = ((key, encode(value)) for key, value in values.items())
        rows = [(key, data, _sum(key, data), now) for key, data in encoded if data is not None]
        if rows:
            self._note_used()
            self._do(
                lambda db: db.executemany("INSERT OR REPLACE INTO memo VALUES (?,?,?,?)", rows)
            )
            self._room -= sum(len(data) for _, data, _, _ in rows)
            if self._room < 0:
                self._evict()

    def clear(self) -> FolderStats:
        """Forget everything; what it was."""
        stats = self.stats()
        self._do(lambda db: db.execute("DELETE FROM memo"))
        self._do(lambda db: db.execute("VACUUM"), is_transaction=False)
        return stats

    def stats(self) -> FolderStats:
        """How much it holds. A folder that is not there holds nothing and is not made."""
        if self._connection is None and not (self.path / FILE).exists():
            return FolderStats(0, 0)
        query = "SELECT COUNT(*), COALESCE(SUM(LENGTH(value)), 0) FROM memo"
        ((count, size),) = self._do(lambda db: db.execute(query).fetchall()) or [(0, 0)]
        return FolderStats(count, size)

    def close(self) -> None:
        if self._connection is not None:
            self._note_used()
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _get_chunk(self, keys: Sequence[bytes]) -> dict[bytes, Any]:
        marks = ",".join("?" * len(keys))
        query = f"SELECT key, value, sum FROM memo WHERE key IN ({marks})"
        rows = self._do(lambda db: db.execute(query, keys).fetchall()) or []
        good = {key: decode(value) for key, value, check in rows if check == _sum(key, value)}
        if bad := [(key,) for key, _, _ in rows if key not in good]:
            self._warn(f"{len(bad)} values were damaged; they are computed again")
            self._do(lambda db: db.executemany("DELETE FROM memo WHERE key = ?", bad))
        now = time.time()
        self._used.update(dict.fromkeys(good, now))
        if len(self._used) > _MOST_USED:
            self._note_used()
        return good

    def _note_used(self) -> None:
        """Write when values were last read: later, since a read need not wait for who writes."""
        used = [(when, key) for key, when in self._used.items()]
        self._used.clear()
        if used:
            self._do(lambda db: db.executemany("UPDATE memo SET used = ? WHERE key = ?", used))

    def _evict(self) -> None:
        num_bytes = self.stats().num_bytes  # reads it all
        excess = num_bytes - self._max_bytes
        if excess <= 0:
            self._room = (self._max_bytes - num_bytes) // 2  # others write too
            return
        gone: list[tuple[bytes]] = []
        oldest = "SELECT key, LENGTH(value) FROM memo ORDER BY used"
        for key, size in self._do(lambda db: db.execute(oldest).fetchall()) or ():
            if excess <= 0:
                break
            gone.append((key,))
            excess -= size
        self._do(lambda db: db.executemany("DELETE FROM memo WHERE key = ?", gone))

    def _do(self, work: Any, is_transaction: bool = True) -> Any:
        """The work's answer; None, with one warning, where the folder cannot be used."""
        if self._is_broken:
            return None
        try:
            db = self._open()
            if not is_transaction:
                return work(db)
            with db:
                return work(db)
        except sqlite3.OperationalError as error:  # full, read-only: go on without
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                return None  # another process has it: this once
            self._is_broken = True
            self._warn(f"is not used from now on: {error}")
        except sqlite3.DatabaseError as error:  # no database at all
            self._start_anew(error)
        return None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise sqlite3.OperationalError(str(error)) from error
            db = sqlite3.connect(self.path / FILE, timeout=self._wait_s, check_same_thread=False)
            self._connection = db
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.executescript(_SCHEMA)
        return self._connection

    def _start_anew(self, error: Exception) -> None:
        self._warn(f"is damaged and starts anew: {error}")
        self._disconnect()
        for suffix in ("", "-wal", "-shm"):
            (self.path / f"{FILE}{suffix}").unlink(missing_ok=True)

    def _warn(self, what: str) -> None:
        warnings.warn(f"memo folder {self.path}: {what}", MemoWarning, stacklevel=2)


def _sum(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(key + data, digest_size=8).digest()


def encode(value: Any) -> bytes | None:
    """The value as bytes; None for one that would not come back equal."""
    if isinstance(value, np.ndarray) and value.dtype == np.float32:
        return b"f" + json.dumps(value.shape).encode() + b"\n" + value.tobytes()
    try:
        return b"j" + json.dumps(_plain(value), ensure_ascii=True, allow_nan=False).encode()
    except (TypeError, ValueError):
        return None


def decode(data: bytes) -> Any:
    """The value that `encode` took."""
    kind, rest = data[:1], data[1:]
    if kind == b"f":
        shape, _, raw = rest.partition(b"\n")
        return np.frombuffer(raw, np.float32).reshape(json.loads(shape))  # read-only
    return _rich(json.loads(rest))


def _plain(value: Any) -> Any:
    """JSON that `_rich` turns back; every list and object says what it was."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return ["list", *map(_plain, value)]
    if type(value) is tuple:
        return ["tuple", *map(_plain, value)]
    if type(value) is dict and all(type(key) is str for key in value):
        return {key: _plain(item) for key, item in value.items()}
    if type(value) is Doc:
        return ["doc", value.text, value.id, value.score, _plain(dict(value.metadata))]
    raise TypeError(f"{type(value).__qualname__} is not kept on disk")


def _rich(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rich(item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    kind, *items = value
    if kind == "doc":
        text, doc_id, score, metadata = items
        return Doc(text, doc_id, score, _rich(metadata))
    return _sequence(kind, map(_rich, items))


def _sequence(kind: str, items: Iterable[Any]) -> Any:
    return tuple(items) if kind == "tuple" else list(items)
