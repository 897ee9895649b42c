"""Work that may never end, on a thread that nobody has to wait for."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import NoReturn, TypeVar

T = TypeVar("T")


def on_own_thread(work: Callable[[], T], name: str) -> "asyncio.Future[Callable[[], T]]":
    """Starts `work` in the caller's context. The future is done when it has ended, with what then
    gives its value or raises what it raised. The process does not wait for the thread."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Callable[[], T]] = loop.create_future()

    def end(outcome: Callable[[], T]) -> None:
        if not ended.done():  # cancelled
            ended.set_result(outcome)

    def run() -> None:
        outcome = _attempt(work)
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(end, outcome)

    thread = threading.Thread(target=copy_context().run, args=(run,), name=name, daemon=True)
    thread.start()
    return ended


def _attempt(work: Callable[[], T]) -> Callable[[], T]:
    try:
        value = work()
    except BaseException as error:  # of the user's code
        failure = error

        def fail() -> NoReturn:
            raise failure

        return fail
    return lambda: value
