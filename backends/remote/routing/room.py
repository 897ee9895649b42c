"""Who waits for a slot at any endpoint, in the order of arrival."""

import asyncio
from collections import deque

from backends.remote.routing.trip import Trip


class Room:
    """One is woken for each slot that is freed. Who has waited calls `freed` once it needs no more,
    so that no slot is lost, and nobody waits for one that will not come."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def wait(self, trip: Trip, *, is_first: bool) -> None:
        """Until a slot may be free or the trip is given up; `is_first` keeps the place of one that
        was woken in vain."""
        woken = trip.waits = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if is_first else self._waiting.append)(woken)
        try:
            await woken
        except asyncio.CancelledError:
            if woken.done() and not woken.cancelled():
                self.freed()  # for another one
            elif woken in self._waiting:
                self._waiting.remove(woken)
            raise

    def freed(self) -> None:
        """Wake the first."""
        while self._waiting:
            woken = self._waiting.popleft()
            if not woken.done():
                woken.set_result(None)
                return
