"""An engine is loaded once, when it is first needed; one that failed to load is tried again."""

import asyncio

from backends.base import Engine
from runtime.clock import now


class Loading:
    """Who waits may be stopped; the loading goes on, since others wait too."""

    def __init__(self, engine: Engine) -> None:
        self.is_done = False  # somebody waited until it was loaded,
        self.done_s = 0.0  # and when that was
        self._engine = engine
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> asyncio.Task[None]:
        """The task that loads the engine."""
        if self._task is None or (self._task.done() and self._task.exception()):
            self._task = asyncio.get_running_loop().create_task(self._engine.start())
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._task

    async def wait(self) -> None:
        """Until it is loaded. Raises what kept it from that."""
        task = self.begin()
        if not task.done():
            await asyncio.shield(task)
        task.result()
        if not self.is_done:
            self.is_done, self.done_s = True, now()

    async def stop(self) -> None:
        """Load no further."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
