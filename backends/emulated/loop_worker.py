"""An engine's worker on the event loop itself, for a virtual clock: there no thread may be awaited.

A step is computed in no time; its outcomes are delivered when its time has passed on the clock.
"""

import asyncio
from collections.abc import Callable

from backends.base import Outcome, Request
from backends.emulated.timeline import LoopTimer
from backends.llm.inbox import Command, Inbox
from backends.llm.outbox import Outbox
from backends.llm.requests.preparation_threads import Prepare, Prepared, prepare_here
from backends.llm.stepped_core import SteppedCore
from backends.llm.worker import Worker


class LoopInbox(Inbox):
    """Wakes a task."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = asyncio.Event()

    def send(self, command: Command) -> bool:
        self.changed.set()
        return super().send(command)

    def close(self) -> None:
        super().close()
        self.changed.set()


class LoopWorker(Worker):
    """Steps while there is work, and otherwise waits for the inbox."""

    def __init__(
        self, core: SteppedCore, inbox: LoopInbox, outbox: Outbox, timer: LoopTimer
    ) -> None:
        super().__init__(core, inbox, outbox)
        self._changed = inbox.changed
        self._timer = timer

    async def run_on_loop(self) -> None:
        """Until the inbox is closed."""
        while not self._inbox.is_closed:
            self._changed.clear()
            self._take_commands()
            self._outbox.flush()
            if not self._core.has_work:
                await self._changed.wait()
                continue
            outcomes = self._step()
            await self._timer.settle()
            for request_id, outcome in outcomes:
                self._deliver(request_id, outcome)
            self._outbox.flush()
            await asyncio.sleep(0)  # the loop has its turn, also after a step of no time
        self._end()


class InlinePreparation:
    """Requests are prepared where they come in."""

    def prepare(
        self,
        request: Request,
        prepare: Prepare,
        outcome: "asyncio.Future[Outcome]",
        enter: Callable[[Prepared], None],
    ) -> None:
        prepare_here(request, prepare, outcome, enter)

    def abort(self, request_id: str) -> bool:  # noqa: ARG002 - of a protocol
        """Nothing is being read."""
        return False

    def close(self) -> None:
        """Nothing is being read."""
