"""The thread that writes: what must be on disk before the world hears of it, and what may wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from runtime.errors import RunStoreFailed
from runtime.memo.aside import aside
from runtime.run_store.database import RunDatabase
from runtime.run_store.rows import NodeRow, NodeState, Row

T = TypeVar("T")

MOST_WAITING_BYTES = 4 * 2**20
MOST_VALUE_BYTES = 900_000_000  # sqlite takes 10**9 a row
LONGEST_WAIT_S = 0.05  # how much work a crash may cost where no effect depends on it


class Writer:
    """Rows reach the disk in the order in which they are given, many in one transaction."""

    def __init__(self, database: RunDatabase) -> None:
        self.database = database
        self._thread = ThreadPoolExecutor(1, "teola-runs")
        self._lock = threading.Lock()
        self._rows: list[tuple[str, Row]] = []
        self._num_bytes = 0
        self._is_due = threading.Event()
        self._is_closed = threading.Event()
        self._late = False
        self._failure: RunStoreFailed | None = None
        self._writing = threading.Lock()  # of who uses the database

    def put(self, run_id: str, row: Row) -> None:
        """Write soon: within LONGEST_WAIT_S, or with the next row that is committed. A value that
        no file takes is not kept."""
        if isinstance(row, NodeRow) and len(row.value) > MOST_VALUE_BYTES:
            row = replace(row, state=NodeState.UNKEPT, value=b"")
        with self._lock:
            self._rows.append((run_id, row))
            self._num_bytes += len(row.value) if isinstance(row, NodeRow) else 0
            if self._num_bytes > MOST_WAITING_BYTES:
                self._is_due.set()
            if self._late:
                return
            self._late = True
        self._thread.submit(self._flush_late)

    def commit(self, then: Callable[[RunStoreFailed | None], None]) -> None:
        """Tell, on the running loop, when all that was put is on the disk, or why it is not."""
        self._is_due.set()
        aside(self._flushed, then, self._thread)

    def do(self, work: Callable[[RunDatabase], T]) -> Future[T]:
        """Work on the database, behind all that was put. Raises RunStoreFailed."""
        self._is_due.set()

        def flush_and_work() -> T:
            failure = self._flushed()
            if failure is not None:
                raise failure
            with self._writing:
                return work(self.database)

        return self._thread.submit(flush_and_work)

    def look(self, work: Callable[[RunDatabase], T]) -> Future[T]:
        """The same for what only reads: a full disk is no reason not to."""
        self._is_due.set()

        def flush_and_look() -> T:
            self._flushed()
            with self._writing:
                return work(self.database)

        return self._thread.submit(flush_and_look)

    def close(self) -> None:
        """When all is written."""
        self._is_closed.set()
        self._is_due.set()
        self._thread.shutdown()
        self._flushed()
        self.database.close()

    def _flush_late(self) -> None:
        if not self._is_closed.is_set():
            self._is_due.wait(LONGEST_WAIT_S)
        self._flushed()

    def _flushed(self) -> RunStoreFailed | None:
        """Write all that waits. What once could not be written fails all that comes behind it."""
        with self._writing:
            with self._lock:
                rows, self._rows = self._rows, []
                self._num_bytes, self._late = 0, False
                self._is_due.clear()
            try:
                if rows:
                    self.database.put(rows)
                    self._failure = None
            except RunStoreFailed as error:
                with self._lock:
                    self._rows[:0] = rows  # for when there is room again
                self._failure = error
            return self._failure
