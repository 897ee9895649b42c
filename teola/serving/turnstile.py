"""A few requests begin in each turn of the event loop, in the order in which they came.

When hundreds come at once, the loop does not read, tokenise and submit them all before it looks at
its sockets again: probes, and streams that run, have their turns in between.
"""

import asyncio
from collections import deque

_PER_TURN = 8


class Turnstile:
    """Of one event loop."""

    def __init__(self, per_turn: int = _PER_TURN) -> None:
        self._per_turn = per_turn
        self._num_entered = 0  # in this turn
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Returns at once where few come."""
        loop = asyncio.get_running_loop()
        if self._num_entered < self._per_turn and not self._waiting:
            self._let_in(loop)
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _let_in(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._num_entered:
            loop.call_soon(self._begin_turn, loop)
        self._num_entered += 1

    def _begin_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._num_entered = 0
        while self._waiting and self._num_entered < self._per_turn:
            turn = self._waiting.popleft()
            if not turn.done():  # its client may have gone
                self._let_in(loop)
                turn.set_result(None)
