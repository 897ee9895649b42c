"""Which queries are let in: overload refuses new work at the door and harms none that has begun.

A query inside another, and a segment of an `async def` app, is part of what was let in before.
"""

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Protocol

from backends.errors import EngineOverloaded

MAX_QUERIES = 10_000
LEAST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0  # that a refusal asks for

_is_inside: ContextVar[bool] = ContextVar("teola_is_inside", default=False)


class Queue(Protocol):
    """What the door sees of an engine."""

    @property
    def name(self) -> str: ...

    @property
    def num_waiting(self) -> int: ...

    @property
    def max_waiting(self) -> int: ...

    @property
    def oldest_s(self) -> float:
        """How long the request waits that waits longest."""


class Door:
    """Of one runtime. Any thread may come in."""

    def __init__(self, max_queries: int = MAX_QUERIES) -> None:
        self._max_queries = max_queries
        self._num_inside = 0
        self._is_open = True
        self._lock = threading.Lock()
        self._leaving: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    @contextmanager
    def entered(self, queues: Iterable[Queue] = ()) -> Iterator[None]:
        """Inside, until the end of the block. Raises EngineOverloaded, with the time after which
        there may be room."""
        is_part = _is_inside.get()
        with self._lock:
            if not is_part:
                self._check(queues)
            self._num_inside += 1
        token = _is_inside.set(True)
        try:
            yield
        finally:
            _is_inside.reset(token)
            with self._lock:
                self._num_inside -= 1
                self._tell_if_empty()

    async def drain(self) -> None:
        """Let nobody in from now on, and wait until all have left."""
        loop = asyncio.get_running_loop()
        left: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._is_open = False
            self._leaving.append((loop, left))
            self._tell_if_empty()
        await left

    def open(self) -> None:
        """Let queries in again."""
        with self._lock:
            self._is_open = True

    def _check(self, queues: Iterable[Queue]) -> None:
        if not self._is_open:
            raise EngineOverloaded("no new query is taken: the runtime is being drained")
        if self._num_inside >= self._max_queries:
            raise EngineOverloaded(
                f"{self._num_inside} queries run in this process, the most that are let in; bound "
                "those at once (concurrency= of a batch), or try again later",
                LEAST_WAIT_S,
            )
        for queue in queues:
            if queue.num_waiting >= queue.max_waiting:
                raise EngineOverloaded(
                    f"{queue.num_waiting} requests wait at engine {queue.name!r}: no new query is "
                    f"taken from {queue.max_waiting} on (max_waiting=); try again later",
                    min(LONGEST_WAIT_S, max(LEAST_WAIT_S, queue.oldest_s)),
                )

    def _tell_if_empty(self) -> None:
        if self._num_inside:
            return
        leaving, self._leaving = self._leaving, []
        for loop, left in leaving:
            with suppress(RuntimeError):  # the loop is closed: whoever waited has given up
                loop.call_soon_threadsafe(_done, left)


def _done(left: "asyncio.Future[None]") -> None:
    if not left.done():
        left.set_result(None)
