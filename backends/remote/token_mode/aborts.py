"""Tells a server of calls that ended here and may run on there."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from backends.errors import EngineError, EngineUnavailable

T = TypeVar("T")
_ABORT_S = 5.0  # for the server to take an abort


class Aborts:
    """Of one server; `abort` tells it of a call."""

    def __init__(self, abort: Callable[[str], Awaitable[None]]) -> None:
        self._abort = abort
        self.telling: set[asyncio.Task[None]] = set()

    async def around(self, call_id: str, work: Coroutine[Any, Any, T]) -> T:
        """What the call gives."""
        try:
            return await work
        except BaseException as error:
            self.failed(call_id, error)
            raise

    def failed(self, call_id: str, error: BaseException) -> None:
        """A call failed here: it was cancelled, or we were silent to each other, and the server may
        still work on it; an error that the server told ended it."""
        if isinstance(error, EngineUnavailable) or not isinstance(error, EngineError):
            self.tell(call_id)

    def tell(self, call_id: str) -> None:
        """In the background: its caller is on its way out. A closed connection says the same,
        later; so nothing is lost where this fails."""
        task = asyncio.create_task(self._tell(call_id), name=f"abort {call_id}")
        self.telling.add(task)
        task.add_done_callback(self.telling.discard)

    async def _tell(self, call_id: str) -> None:
        with suppress(EngineError, TimeoutError):
            async with asyncio.timeout(_ABORT_S):
                await self._abort(call_id)
