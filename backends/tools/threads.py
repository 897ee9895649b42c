"""Threads for functions that may wait for each other: as many as are busy at once, up to a bound.

A tool may call an app whose tools need threads in turn, so a small fixed pool would wait for
itself. They are daemons: a function that never ends does not keep the program.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

from backends.errors import EngineOverloaded

T = TypeVar("T")


class ToolThreads:
    """Used from one event loop; a function that raises ends its thread, so it must not."""

    def __init__(self, max_threads: int, stall_s: float) -> None:
        self._max_threads = max_threads
        self._stall_s = stall_s
        self._free = asyncio.Semaphore(max_threads)
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._num_threads = 0
        self._num_busy = 0
        self._num_finished = 0

    async def run(self, function: Callable[[], T]) -> T:
        """What the function returns. Cancelled, its thread stays busy until it has ended.

        With all threads busy it waits for one. Raises EngineOverloaded when none of them gets
        done for `stall_s`: they most likely wait for the work that waits here.
        """
        await self._claim()
        while not self._has_thread():
            await self._claim()
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()

        def finish(value: T) -> None:
            self._num_busy -= 1
            self._num_finished += 1
            self._free.release()
            if not result.done():
                result.set_result(value)

        def work() -> None:
            value = function()
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(finish, value)

        self._num_busy += 1
        self._work.put(work)
        return await result

    def close(self) -> None:
        """Threads end when they have nothing more to do; waits for none."""
        for _ in range(self._num_threads):
            self._work.put(None)

    async def _claim(self) -> None:
        while True:
            before = self._num_finished
            try:
                async with asyncio.timeout(self._stall_s):
                    await self._free.acquire()
                return
            except TimeoutError:
                if self._num_finished == before:
                    raise EngineOverloaded(
                        f"all {self._max_threads} threads for tools are busy and none got done "
                        f"for {self._stall_s:g} s; tools that wait for apps belong into `async "
                        "def` with `await app.arun(...)`, which needs no thread"
                    ) from None

    def _has_thread(self) -> bool:
        """For the claimed place. Where the system has no more threads, the place is given up."""
        if self._num_busy < self._num_threads:
            return True
        thread = Thread(target=self._serve, name=f"tool-{self._num_threads + 1}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False
        self._num_threads += 1
        return True

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
