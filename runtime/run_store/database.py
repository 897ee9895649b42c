"""The sqlite file of a folder of runs. One thread at a time; any number of processes."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from runtime.errors import RunStoreFailed
from runtime.run_store.questions import GivenAnswer, given_answer
from runtime.run_store.rows import EngineRow, NodeRow, NodeState, Row, RunRow, RunState
from runtime.run_store.values import encode

FILE = "runs.sqlite"
VERSION = 4  # 2: runs of services; 3: tenants, who answered, ends in lists; 4: orders, engines
WAIT_S = 30.0  # for another process that writes
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, app TEXT NOT NULL, target TEXT NOT NULL, arguments BLOB NOT NULL,
    engines TEXT NOT NULL, code TEXT NOT NULL, began_s REAL NOT NULL, state TEXT NOT NULL,
    ended_s REAL, error TEXT NOT NULL, owner TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS nodes (
    run TEXT NOT NULL, key BLOB NOT NULL, place TEXT NOT NULL, op TEXT NOT NULL,
    name TEXT NOT NULL, content BLOB NOT NULL, state INTEGER NOT NULL, value BLOB NOT NULL,
    when_s REAL NOT NULL, sum BLOB NOT NULL, PRIMARY KEY (run, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS open_nodes ON nodes (run) WHERE state IN (1, 4, 5);
CREATE TABLE IF NOT EXISTS served (
    run TEXT PRIMARY KEY, answer BLOB NOT NULL, sum BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS runs_by_date ON runs (began_s, id);
CREATE INDEX IF NOT EXISTS runs_by_state ON runs (state, began_s, id);
CREATE INDEX IF NOT EXISTS unanswered ON served (run) WHERE answer = x'';
CREATE TABLE IF NOT EXISTS ends (
    run TEXT PRIMARY KEY, status TEXT NOT NULL, listed BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tenants (run TEXT PRIMARY KEY, tenant TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS orders (
    run TEXT PRIMARY KEY, objective TEXT NOT NULL, due_s REAL, policy TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS engines (
    run TEXT NOT NULL, name TEXT NOT NULL, identity TEXT NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (run, name, identity)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
    run TEXT NOT NULL, question TEXT NOT NULL, asked TEXT NOT NULL, value BLOB NOT NULL,
    who TEXT NOT NULL, when_s REAL NOT NULL, PRIMARY KEY (run, question)
) WITHOUT ROWID;
"""
_OF_RUNS = ("nodes", "served", "ends", "tenants", "orders", "engines", "answers")
_TABLES = (*((table, "run") for table in _OF_RUNS), ("runs", "id"))
RUN = (  # a process of an earlier version may work in the folder: it knows no more columns
    "id, app, target, arguments, engines, code, began_s, state, ended_s, error, owner, "
    "COALESCE((SELECT tenant FROM tenants WHERE tenants.run = id), ''), "
    "COALESCE((SELECT objective FROM orders WHERE orders.run = id), ''), "
    "(SELECT due_s FROM orders WHERE orders.run = id), "
    "COALESCE((SELECT policy FROM orders WHERE orders.run = id), '')"
)
SMALL_RUN = RUN.replace("arguments", "x''")  # without what may be large
_NODE = "key, place, op, name, content, state, value, when_s"


class RunDatabase:
    """Reads and writes rows. Raises RunStoreFailed where the file cannot be used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._connection: sqlite3.Connection | None = None

    @property
    def exists(self) -> bool:
        return (self.folder / FILE).exists()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is written within, or nothing; nobody else writes meanwhile."""
        with self._failures():
            db = self._open()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                if db.in_transaction:
                    db.rollback()
                raise
            db.commit()

    def begin(self, run: RunRow, *, is_served: bool = False) -> None:
        """Write a new run; that of a service has no answer yet."""
        with self.transaction() as db:
            marks = ",".join("?" * 11)
            values = [*map(_written, astuple(run))]
            values, (tenant, *order) = values[:11], values[11:]
            db.execute(f"INSERT INTO runs VALUES ({marks})", values)
            if tenant:
                db.execute("INSERT INTO tenants VALUES (?, ?)", (run.id, tenant))
            db.execute("INSERT INTO orders VALUES (?, ?, ?, ?)", (run.id, *order))
            if is_served:
                db.execute("INSERT INTO served VALUES (?, x'', x'')", (run.id,))

    def put(self, rows: Sequence[tuple[str, Row]]) -> None:
        """Write primitives and engines of runs, in order; a key alone is taken away."""
        with self.transaction() as db:
            for run, row in rows:
                _put(db, run, row)

    def answer(self, run_id: str, row: NodeRow, given: GivenAnswer) -> None:
        """Write the answer to what a run waits for, and who gave it."""
        asked, by = _written(given.question), _written(given.by)
        kept = (run_id, given.id, asked, encode(given.value), by, given.when_s)
        with self.transaction() as db:
            _put(db, run_id, row)
            db.execute("INSERT OR REPLACE INTO answers VALUES (?,?,?,?,?,?)", kept)

    def answers(self, run_id: str) -> list[GivenAnswer]:
        """What was answered in a run, the first first."""
        query = "SELECT question, asked, value, who, when_s FROM answers WHERE run = ?"
        return [given_answer(*row) for row in self.read(f"{query} ORDER BY when_s", (run_id,))]

    def run(self, run_id: str) -> RunRow | None:
        found = self.runs("WHERE id = ?", (run_id,))
        return found[0] if found else None

    def runs(
        self, where: str = "ORDER BY began_s DESC, id", given: Sequence[Any] = ()
    ) -> list[RunRow]:
        """The runs, the latest first."""
        query = f"SELECT {RUN} FROM runs {where}"
        return [RunRow(*row) for row in self.read(query, given)]

    def nodes(self, run_id: str, most_bytes: int = 0) -> list[NodeRow]:
        """The primitives of a run in the order of writing; with those of their values that are
        whole, where all together have at most so many bytes."""
        size = "SELECT COALESCE(SUM(LENGTH(value)), 0) FROM nodes WHERE run = ?"
        with_values = self.read(size, (run_id,))[0][0] <= most_bytes
        value = "value" if with_values else "x''"
        query = f"SELECT {_NODE.replace('value', value)}, sum FROM nodes WHERE run = ?"
        rows = self.read(f"{query} ORDER BY when_s", (run_id,))
        return [_node(row) if _is_whole(row) else replace(_node(row), value=b"") for row in rows]

    def engines(self, run_id: str) -> list[EngineRow]:
        """The engines that a run has asked."""
        query = "SELECT name, identity, number FROM engines WHERE run = ?"
        return [EngineRow(*row) for row in self.read(query, (run_id,))]

    def value(self, run_id: str, key: bytes) -> bytes | None:
        """The value of a primitive; None where it is damaged."""
        query = "SELECT state, value, sum FROM nodes WHERE run = ? AND key = ?"
        rows = self.read(query, (run_id, key))
        good = [value for state, value, check in rows if check == _sum(key, state, value)]
        return good[0] if good else None

    def sizes(self, run_id: str | None = None) -> dict[str, tuple[int, int]]:
        """By run, or of one, the primitives that are done, and the bytes of all values."""
        done = f"SUM(state = {int(NodeState.DONE)})"
        where, given = ("", ()) if run_id is None else ("WHERE run = ?", (run_id,))
        query = f"SELECT run, {done}, SUM(LENGTH(value)) FROM nodes {where} GROUP BY run"
        return {run: (num, size) for run, num, size in self.read(query, given)}

    def open_nodes(self, run_id: str | None = None) -> list[tuple[str, NodeRow]]:
        """The primitives that wait, or began and did not end, of all runs or of one; with their
        values, the oldest first."""
        states = f"({int(NodeState.BEGUN)}, {int(NodeState.UNKEPT)}, {int(NodeState.WAITING)})"
        where, given = ("", ()) if run_id is None else ("run = ? AND ", (run_id,))
        query = f"SELECT run, {_NODE} FROM nodes WHERE {where}state IN {states} ORDER BY when_s"
        return [(run, _node(row)) for run, *row in self.read(query, given)]

    def end(self, run_id: str, state: RunState, ended_s: float | None, error: str) -> None:
        """The run is nobody's any more."""
        with self.transaction() as db:
            query = "UPDATE runs SET state = ?, ended_s = ?, error = ?, owner = '' WHERE id = ?"
            db.execute(query, (state, ended_s, _written(error), run_id))

    def delete(self, run_ids: Sequence[str]) -> None:
        with self.transaction() as db:
            for run_id in run_ids:
                for table, column in _TABLES:
                    db.execute(f"DELETE FROM {table} WHERE {column} = ?", (run_id,))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def read(self, query: str, given: Sequence[Any] = ()) -> list[Any]:
        """The rows that a query finds."""
        with self._failures():
            return self._open().execute(query, given).fetchall()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise RunStoreFailed(f"run store {self.folder}: {error}; {_way_out(error)}") from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = self.folder / FILE
            path.touch(mode=0o600)
            db = sqlite3.connect(path, WAIT_S, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(db)
            except BaseException:
                db.close()
                raise
            self._connection = db
        return self._connection

    def _prepare(self, db: sqlite3.Connection) -> None:
        ((version,),) = db.execute("PRAGMA user_version").fetchall()
        if not 0 <= version <= VERSION:  # an older file lacks tables only
            raise RunStoreFailed(
                f"run store {self.folder}: it was written by another version of teola (format "
                f"{version}, this one has {VERSION}): use that version, or another folder"
            )
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")  # what is told to the world survives a power cut
        db.execute("PRAGMA secure_delete=ON")
        db.executescript(_SCHEMA)
        db.execute(f"PRAGMA user_version = {VERSION}")


def _written(value: Any) -> Any:
    """A text that has half of a surrogate pair, as some file names, with that as an escape."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _put(db: sqlite3.Connection, run: str, row: Row) -> None:
    if isinstance(row, bytes):
        db.execute("DELETE FROM nodes WHERE run = ? AND key = ?", (run, row))
    elif isinstance(row, EngineRow):
        values = (run, _written(row.name), row.identity, row.number)
        db.execute("INSERT OR REPLACE INTO engines VALUES (?, ?, ?, ?)", values)
    else:
        values = (run, *_columns(row), _sum(row.key, row.state, row.value))
        db.execute("INSERT OR REPLACE INTO nodes VALUES (?,?,?,?,?,?,?,?,?,?)", values)


def _columns(row: NodeRow) -> tuple[Any, ...]:
    about = (row.key, row.place, row.op, row.name, row.content)
    return (*about, int(row.state), row.value, row.when_s)


def _node(row: Sequence[Any]) -> NodeRow:
    key, place, op, name, content, state, value, when_s, *_ = row
    return NodeRow(key, place, op, name, content, NodeState(state), value, when_s)


def _is_whole(row: Sequence[Any]) -> bool:
    return bool(row[-1] == _sum(row[0], row[5], row[6]))


def _sum(key: bytes, state: int, value: bytes) -> bytes:
    return hashlib.blake2b(key + bytes([state]) + value, digest_size=8).digest()


def _way_out(error: Exception) -> str:
    if isinstance(error, sqlite3.OperationalError | OSError):
        return "make room or mend the folder's rights, then `teola resume` goes on"
    if isinstance(error, sqlite3.DataError):
        return "it is larger than the file takes: give a path, or a part of it"
    return "the file is damaged: move it away, or give another folder"
