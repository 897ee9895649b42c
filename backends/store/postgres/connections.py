"""Connections that are kept and used again. None outlives its server: a refusal is told at once."""

import asyncio
import os
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection, IsolationLevel
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from backends.errors import EngineUnavailable
from backends.store.postgres.address import Address
from backends.store.postgres.errors import mapped
from backends.store.postgres.vectors import register_vectors

Connection = AsyncConnection[TupleRow]

_GRACE_S = 1.0  # after the server should have ended a statement, before the connection is cut


class Connections:
    """At most `most` at a time; a connection in which anything went wrong is not used again."""

    def __init__(
        self, address: Address, most: int, connect_timeout_s: float, timeout_s: float
    ) -> None:
        self._address = address
        self._connect_timeout_s = connect_timeout_s
        self.timeout_s = timeout_s
        self._room = asyncio.Semaphore(most)
        self._idle: list[Connection] = []
        self.vector_oid: int | None = None  # known after the schema was opened

    @property
    def name(self) -> str:
        return self._address.name

    @asynccontextmanager
    async def transaction(self, *, reads: bool) -> AsyncIterator[Connection]:
        """One that reads sees one state of everything. Raises EngineError for what psycopg does."""
        async with self.connection(self.timeout_s) as conn:
            level = IsolationLevel.REPEATABLE_READ if reads else IsolationLevel.READ_COMMITTED
            await conn.set_isolation_level(level)
            await conn.set_read_only(reads)
            async with conn.transaction():
                limit = f"{self.timeout_s * 1000:.0f}"
                await conn.execute("SELECT set_config('statement_timeout', %s, true)", [limit])
                yield conn

    @asynccontextmanager
    async def connection(self, timeout_s: float | None) -> AsyncIterator[Connection]:
        """A connection without a transaction; None: for as long as it takes."""
        async with self._room:
            with mapped(self.name):
                conn = self._take() or await self._connect()
            watch = _Watch(conn, timeout_s)
            try:
                with mapped(self.name):
                    yield conn
            except EngineUnavailable as error:
                raise watch.explain(error, self.name) from None
            finally:
                watch.stop()
                await self._put_back(conn)

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for conn in idle:
            await conn.close()

    def _take(self) -> Connection | None:
        while self._idle:
            conn = self._idle.pop()
            if not conn.closed and not _has_news(conn):
                return conn
            conn.pgconn.finish()
        return None

    async def _connect(self) -> Connection:
        params: dict[str, Any] = {"application_name": "teola", **self._address.params}
        params.setdefault("connect_timeout", max(1, round(self._connect_timeout_s)))
        conn = await AsyncConnection.connect(**params, autocommit=True)
        if self.vector_oid is not None:
            register_vectors(conn, self.vector_oid)
        return conn

    async def _put_back(self, conn: Connection) -> None:
        if not conn.closed and conn.info.transaction_status is TransactionStatus.IDLE:
            self._idle.append(conn)
        else:
            await conn.close()


class _Watch:
    """Cuts a connection whose server says nothing, so that whoever waits for it hears."""

    def __init__(self, conn: Connection, timeout_s: float | None) -> None:
        self._conn = conn
        self._timeout_s = timeout_s
        self._has_cut = False
        self._timer: asyncio.TimerHandle | None = None
        if timeout_s is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(timeout_s + _GRACE_S, self._cut)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def explain(self, error: EngineUnavailable, name: str) -> EngineUnavailable:
        if not self._has_cut:
            return error
        return EngineUnavailable(f"{name}: no answer in {self._timeout_s:g} s (timeout_s)")

    def _cut(self) -> None:
        self._has_cut = True
        with (
            suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(self._conn.fileno())) as copy,
        ):
            copy.shutdown(socket.SHUT_RDWR)


def _has_news(conn: Connection) -> bool:
    """Whether the server said something to an idle connection: mostly that it goes."""
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    return bool(poll.poll(0))
