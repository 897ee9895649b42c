"""An event loop on a thread of its own, so that sync callers and notebooks can wait for it."""

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from runtime.errors import ForkedProcess

T = TypeVar("T")

_LOOK_S = 0.2  # between looks whether a loop that is to end is idle


class Background(Protocol):
    """A loop that coroutines are handed to."""

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """Run a coroutine on the loop; cancelling the future cancels it."""

    async def run_to_end(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await a coroutine on the loop; when that is cancelled, until it has stopped there."""

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and block until it ends."""

    def check_may_wait(self) -> None:
        """Raises RuntimeError where a caller that blocks would wait for itself, and ForkedProcess
        where nobody would answer."""


class BackgroundLoop:
    """Starts with the first coroutine; the thread is a daemon and ends with the process, or after
    `close`."""

    def __init__(self, name: str = "teola") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """Run a coroutine on the loop; cancelling the future cancels it."""
        try:
            self.check_is_here()
        except ForkedProcess:
            coroutine.close()
            raise
        return asyncio.run_coroutine_threadsafe(coroutine, self._running_loop())

    async def run_to_end(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await a coroutine on the loop; when that is cancelled, until it has stopped there."""
        try:
            return await asyncio.wrap_future(self.submit(coroutine))
        except asyncio.CancelledError:
            await asyncio.wrap_future(self.submit(asyncio.sleep(0)))  # in line behind the stop
            raise

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and block until it ends; an interrupt cancels it first."""
        try:
            self.check_may_wait()
        except RuntimeError:
            coroutine.close()
            raise
        future = self.submit(coroutine)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def check_may_wait(self) -> None:
        """Raises RuntimeError on the loop's own thread; as `check_is_here`."""
        self.check_is_here()
        if threading.current_thread() is self._thread:
            raise RuntimeError(
                "an app was called from teola's own event loop, which would wait for itself; "
                "in an async tool write `await app.arun(...)` or `app.astream(...)`"
            )

    def check_is_here(self) -> None:
        """Raises ForkedProcess if the thread began in the process that this one was forked from."""
        if self._thread is not None and self._pid != os.getpid():
            raise ForkedProcess(
                "teola ran in the process that this one was forked from, and its threads stayed "
                "there: start processes by multiprocessing's 'spawn' or 'forkserver', or run the "
                "first app after the fork"
            )

    @property
    def is_alive(self) -> bool:
        """Whether what is submitted runs."""
        return self._thread is None or self._thread.is_alive()

    def close(self) -> None:
        """End the thread once nothing runs on the loop; what is submitted later starts another."""
        with self._lock:
            loop, self._loop, self._thread = self._loop, None, None
        if loop is not None:
            with suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(_stop_when_idle, loop)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_run_for_ever, args=(self._loop,), name=self._name, daemon=True
                )
                self._pid = os.getpid()
                self._thread.start()
            return self._loop


def _run_for_ever(loop: asyncio.AbstractEventLoop) -> None:
    """Asyncio lets these two out of the loop, beside giving them to who waits for the task: the
    tasks of others go on."""
    while not loop.is_closed():
        try:
            loop.run_forever()
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
        except (SystemExit, KeyboardInterrupt):
            continue


def _stop_when_idle(loop: asyncio.AbstractEventLoop) -> None:
    if asyncio.all_tasks(loop):
        loop.call_later(_LOOK_S, _stop_when_idle, loop)
    else:
        loop.stop()
