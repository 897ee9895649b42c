"""When the work of an emulated device ends, on a wall clock or on a virtual one.

Engines that name the same device take turns on it: a step begins when the device is free. Nothing
is held meanwhile, so what waits for its turn costs no thread but its own.
"""

import asyncio
import threading
import time
from typing import Protocol
from weakref import WeakKeyDictionary

from backends.loop_clock import is_virtual

CATCH_UP_S = 0.05  # most lateness of a busy machine that the next steps make up for


class Timeline:
    """One device. Steps are placed one after another, in the order in which they are asked for."""

    def __init__(self) -> None:
        self.busy_s = 0.0  # of all steps
        self._free_s = 0.0
        self._lock = threading.Lock()

    def place(self, earliest_s: float, step_s: float) -> float:
        """The end of a step that begins when the device is free, at `earliest_s` or later."""
        with self._lock:
            self.busy_s += step_s
            self._free_s = max(self._free_s, earliest_s) + step_s
            return self._free_s


class StepTimer(Protocol):
    """What an engine spends its steps on; calling it reads its clock."""

    @property
    def busy_s(self) -> float:
        """Of the device, so far."""

    def __call__(self) -> float: ...

    def spend(self, step_s: float, began_s: float | None = None, after_s: float = 0.0) -> None:
        """A step of so many seconds on the device; it began now or at `began_s`, or so many
        seconds after that, in which the device is free."""

    def rest(self) -> None:
        """The engine has nothing to do: its next step begins when it is asked for."""


class WallTimer:
    """Sleeps for what is left of each step; the Python between two steps counts as part of them."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._ended_s: float | None = None  # of the last step, while the engine is busy

    @property
    def busy_s(self) -> float:
        return self._timeline.busy_s

    def __call__(self) -> float:
        return time.perf_counter()

    def spend(self, step_s: float, began_s: float | None = None, after_s: float = 0.0) -> None:
        now_s = self()
        earliest_s = now_s if began_s is None else began_s
        if self._ended_s is not None:
            earliest_s = max(self._ended_s, now_s - CATCH_UP_S)
        self._ended_s = self._timeline.place(earliest_s + after_s, step_s)
        if (left_s := self._ended_s - now_s) > 0:
            time.sleep(left_s)

    def rest(self) -> None:
        self._ended_s = None


class LoopTimer:
    """On a virtual clock: a step is done at once, and `settle` lets its time pass."""

    def __init__(self, timeline: Timeline, loop: asyncio.AbstractEventLoop) -> None:
        self._timeline = timeline
        self._loop = loop
        self._ahead_s = 0.0

    @property
    def busy_s(self) -> float:
        return self._timeline.busy_s

    def __call__(self) -> float:
        return self._loop.time() + self._ahead_s

    def spend(
        self,
        step_s: float,
        began_s: float | None = None,  # noqa: ARG002
        after_s: float = 0.0,
    ) -> None:
        self._ahead_s = self._timeline.place(self() + after_s, step_s) - self._loop.time()

    def rest(self) -> None:
        """Time passes by `settle` alone."""

    async def settle(self) -> None:
        """Wait for the end of what was spent."""
        ahead_s = self._ahead_s
        if ahead_s > 0:
            await asyncio.sleep(ahead_s)
        self._ahead_s = 0.0


_wall: dict[str, Timeline] = {}
_virtual: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Timeline]] = WeakKeyDictionary()
_making = threading.Lock()


def timer_for(device: str, loop: asyncio.AbstractEventLoop) -> WallTimer | LoopTimer:
    """A timer on the loop's kind of clock, on the device of a name; "": a device of its own."""
    if is_virtual(loop):
        with _making:
            own = _virtual.setdefault(loop, {})
        return LoopTimer(_named(own, device), loop)
    return WallTimer(_named(_wall, device))


def _named(known: dict[str, Timeline], device: str) -> Timeline:
    if not device:
        return Timeline()
    with _making:
        return known.setdefault(device, Timeline())
