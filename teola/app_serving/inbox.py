"""Events on their way from the threads that run an app to the loop that answers its client."""

import asyncio
from collections import deque
from contextlib import suppress

from runtime.events import Event


class Inbox:
    """Of one run, for one reader. The loop is woken once for all events that came meanwhile."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._is_told = False
        self._is_closed = False

    def put(self, event: Event) -> None:
        """From any thread."""
        self._waiting.append(event)
        if not self._is_told:
            self._is_told = True
            with suppress(RuntimeError):  # the loop is closed: nobody reads any more
                self._loop.call_soon_threadsafe(self._tell)

    def close(self) -> None:
        """Nothing more comes."""
        self._is_closed = True
        self._wake.set()

    async def take(self) -> list[Event]:
        """All that came since the last call, at least one; [] at the end."""
        while not self._waiting and not self._is_closed:
            self._wake.clear()
            await self._wake.wait()
        return [self._waiting.popleft() for _ in range(len(self._waiting))]

    def _tell(self) -> None:
        self._is_told = False
        self._wake.set()
