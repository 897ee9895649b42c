"""What the thread of an engine tells event loops: one wake-up of each for all of it, in order."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any


class Outbox:
    """Filled and flushed by one thread. Calls to one loop keep their order."""

    def __init__(self) -> None:
        self._calls: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}

    def call(
        self, loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: Any
    ) -> None:
        """Call a function on a loop, at the next `flush`."""
        self._calls.setdefault(loop, []).append(partial(function, *args))

    def flush(self) -> None:
        calls, self._calls = self._calls, {}
        for loop, of_loop in calls.items():
            with suppress(RuntimeError):  # the loop is closed: no receiver is left
                loop.call_soon_threadsafe(_call_all, loop, of_loop)


def _call_all(loop: asyncio.AbstractEventLoop, calls: list[Callable[[], None]]) -> None:
    for call in calls:
        try:
            call()
        except Exception as error:  # as the loop does it: one callback harms no other
            loop.call_exception_handler({"message": "a callback failed", "exception": error})
