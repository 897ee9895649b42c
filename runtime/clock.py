"""Time, real or virtual: all of it is the running event loop's.

`run_virtual` runs a coroutine on a loop whose clock jumps to the next timer whenever every task
waits (trio calls this an autojump clock). Nothing sleeps, and a schedule is exact.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def now() -> float:
    """Seconds on the running loop's clock."""
    return asyncio.get_running_loop().time()


class Deadlock(RuntimeError):
    """Under the virtual clock every task waits and no timer is due."""


class _JumpSelector(selectors.SelectSelector):
    """Instead of waiting for a timer, moves the clock to it."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise Deadlock("every task waits and no timer is due: something is never answered")
        self.time += timeout
        return []


class _VirtualLoop(asyncio.SelectorEventLoop):
    is_virtual = True  # engines ask for it: see `backends.emulated.timeline`

    def __init__(self, selector: _JumpSelector) -> None:
        super().__init__(selector)
        self._jump = selector
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._jump.time


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` in virtual time that begins at 0. Threads and sockets must not be awaited."""
    with asyncio.Runner(loop_factory=lambda: _VirtualLoop(_JumpSelector())) as runner:
        return runner.run(main)
