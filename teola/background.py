"""An event loop on a thread of its own, so that sync callers and notebooks can wait for it."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from runtime.errors import ForkedProcess

T = TypeVar("T")

_LOOK_S = 0.05  # between looks whether a loop that is to end is idle


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

    def close(self, wait_s: float = 0.0) -> None:
        """End the loop, if it is its own, once nothing runs on it; wait so long for that."""


class BackgroundLoop:
    """Starts with the first coroutine; the thread is a daemon and ends with the process, or after
    `close`."""

    def __init__(self, name: str = "teola", is_needed: Callable[[], bool] = lambda: False) -> None:
        """While something of it `is_needed` later, which is asked on the loop, it does not end."""
        self._name = name
        self._is_needed = is_needed
        self._lock = threading.RLock()  # a finalizer may submit while this thread submits
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._ending: object | None = None  # one for each time that it is told to end

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """Run a coroutine on the loop; cancelling the future cancels it."""
        try:
            self.check_is_here()
            with self._lock:
                self._ending = None
                return asyncio.run_coroutine_threadsafe(coroutine, self._running_loop())
        except (ForkedProcess, RuntimeError):  # no thread can start: the interpreter ends
            coroutine.close()
            raise

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
                "a call that blocks, of an app say, would wait for itself on teola's own event "
                "loop; in an async tool write `await app.arun(...)` or `app.astream(...)`"
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

    def close(self, wait_s: float = 0.0) -> None:
        """End the thread once nothing runs on the loop, and wait so long for that. What is
        submitted before keeps it, and what comes later starts another: two never run at once. Any
        thread may call."""
        if self._pid != os.getpid():  # the thread stayed in the process that this was forked from
            return
        with self._lock:
            loop, thread = self._loop, self._thread
            if loop is None or thread is None:
                return
            if self._ending is None:
                self._ending = object()
                try:
                    loop.call_soon_threadsafe(self._end_when_idle, loop, self._ending)
                except RuntimeError:  # it has ended by itself
                    self._loop = self._thread = self._ending = None
        if thread is not threading.current_thread():
            thread.join(wait_s)

    def _end_when_idle(
        self, loop: asyncio.AbstractEventLoop, ending: object, was_idle: bool = False
    ) -> None:
        with self._lock:
            if ending is not self._ending:  # a coroutine came since
                return
            if asyncio.all_tasks(loop):
                loop.call_later(_LOOK_S, self._end_when_idle, loop, ending)
            elif not was_idle:  # the callbacks of the last task come first, and may begin others
                loop.call_soon(self._end_when_idle, loop, ending, True)
            elif self._is_needed():
                self._ending = None
            else:
                self._loop = self._thread = self._ending = None
                loop.stop()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            loop = asyncio.new_event_loop()
            thread = threading.Thread(
                target=_run_for_ever, args=(loop,), name=self._name, daemon=True
            )
            try:
                thread.start()
            except RuntimeError:
                loop.close()
                raise
            self._loop, self._thread, self._pid = loop, thread, os.getpid()
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
