"""Time, real or virtual: all of it is the running event loop's.

`run_virtual` runs a coroutine on a loop whose clock jumps to the next timer whenever every task
waits (trio calls this an autojump clock). Nothing sleeps, and a schedule is exact. Work for a
thread is done on the loop at once, and takes no time of that clock.
"""

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from datetime import UTC, datetime
from itertools import count
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

RESOLUTION_S = 1e-9  # timers that lie nearer together fall due together


def now() -> float:
    """Seconds on the running loop's clock."""
    return asyncio.get_running_loop().time()


def date() -> datetime:
    """The date of now; a virtual clock begins with 1970, so that its runs are told alike."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, _VirtualLoop):
        return datetime.fromtimestamp(loop.time(), UTC)
    return datetime.now(UTC)


def virtual_numbers() -> Iterator[int] | None:
    """The numbers of the running virtual loop, which every run on one has alike; None on another
    loop, and where none runs."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    return loop.numbers if isinstance(loop, _VirtualLoop) else None


class Deadlock(RuntimeError):
    """Under the virtual clock every task waits and no timer is due."""


class _JumpSelector(selectors.DefaultSelector):
    """Instead of waiting for a timer, moves the clock to it. Not by select(), which knows only the
    first 1,024 files of a process."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise Deadlock(
                "every task waits and no timer is due: something is never answered, or waits for a "
                "thread of its own, which a virtual clock cannot"
            )
        later = self.time + timeout
        # Far from zero floats are coarse: a timer is due only where the time is past it.
        self.time = later + 2 * math.ulp(later) if math.ulp(later) > RESOLUTION_S else later
        return []


class _VirtualLoop(asyncio.SelectorEventLoop):
    is_virtual = True  # asked for by `backends.loop_clock`

    def __init__(self, selector: _JumpSelector) -> None:
        super().__init__(selector)
        self._jump = selector
        self._clock_resolution = RESOLUTION_S
        self.numbers = count()

    def time(self) -> float:
        return self._jump.time

    async def create_connection(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        raise RuntimeError("a connection cannot be awaited on a virtual clock")

    def run_in_executor(
        self,
        executor: Executor | None,  # noqa: ARG002 - of the loop's interface
        func: Callable[[*Ts], T],
        *args: *Ts,
    ) -> asyncio.Future[T]:
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` in virtual time that begins at 0. Sockets must not be awaited, nor threads but by
    `run_in_executor`."""
    with asyncio.Runner(loop_factory=lambda: _VirtualLoop(_JumpSelector())) as runner:
        return runner.run(main)
