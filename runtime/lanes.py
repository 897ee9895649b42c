"""Names the segments of an `async def` app alike in each run of it: by the task that issues them.

A task is named by the task that made it and by its turn among that one's, which are in the order in
which they first issue something; a segment by its turn in its task.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from itertools import count
from typing import Any


class Lane:
    """One task of an app's run."""

    def __init__(self, task: asyncio.Task[Any] | None, name: str = "") -> None:
        self.task = task
        self._name = name
        self._segments = count()
        self._lanes = count()

    def next_segment(self) -> str:
        """The name of the segment that the task issues now."""
        return f"{self._name}{next(self._segments)}"

    def beside(self, task: asyncio.Task[Any] | None) -> Lane:
        """That of a task that this one made."""
        return Lane(task, f"{self._name}{next(self._lanes)}/")


_lane: ContextVar[tuple[object, Lane] | None] = ContextVar("teola_lane", default=None)


class Lanes:
    """Those of one session."""

    def __init__(self) -> None:
        self._first: Lane | None = None

    def name(self) -> str:
        """The name of the segment that is issued now, by the running task."""
        task = asyncio.current_task()
        found = _lane.get()
        if found is None or found[0] is not self:
            self._first = self._first or Lane(task)
            lane = self._first
        else:
            lane = found[1]
        if lane.task is not task:
            lane = lane.beside(task)
        _lane.set((self, lane))
        return lane.next_segment()
