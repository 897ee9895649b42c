"""An engine whose steps wait, so that what a test does meanwhile is there at the next one."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from backends.llm.inbox import Abort, Submit


class HeldSteps:
    """Of an engine that has started: from its step number `after` on, until `go_on`."""

    def __init__(self, engine: Any, after: int = 0) -> None:
        self._engine = engine
        self._begun, self._may_go_on = threading.Event(), threading.Event()
        core, step = engine._core, engine._core.step

        def held() -> Any:
            if core.num_steps >= after:
                self._begun.set()
                assert self._may_go_on.wait(60)
            return step()

        core.step = held

    async def begun(self) -> None:
        """Until a step waits."""
        assert await asyncio.to_thread(self._begun.wait, 60)

    async def submitted(self, count: int) -> None:
        """Until so many requests wait for the step's end."""
        await _until(lambda: self._count(Submit) == count)

    async def aborted(self) -> None:
        """Until the next step will know that a request is aborted."""
        await _until(lambda: self._count(Abort) > 0)

    def go_on(self) -> None:
        self._may_go_on.set()

    def _count(self, kind: type) -> int:
        with self._engine._inbox.wake:
            return sum(isinstance(each, kind) for each in self._engine._inbox._commands)


async def _until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_true():
            await asyncio.sleep(0.001)
