"""An engine for models that read texts: its batches are passes of so many tokens, made by itself.

Every request goes in as soon as it comes and is in the next pass that has room for it.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from backends.base import EngineInfo, Outcome, Request
from backends.bert.forward_passes import Passes, TextRunner
from backends.errors import EngineError, EngineUnavailable, RequestRejected
from backends.local_engine import LocalEngine

NUM_SLOTS = 64  # batches of the scheduler's under way at once


class TextEngine(LocalEngine[Passes[Any, Any]]):
    """Loads a runner at `start`; passes run one after another in a thread of their own."""

    def __init__(self, info: EngineInfo, load: Callable[[], TextRunner[Any, Any]]) -> None:
        super().__init__(info, lambda: Passes(load()))
        self._new: list[Request] = []
        self._futures: dict[Request, asyncio.Future[Outcome]] = {}
        self._aborted: set[str] = set()
        self._passing: asyncio.Task[None] | None = None

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        """Outcomes in the order of `requests`. Cancelling the caller aborts them all. A request
        that is under way already is rejected."""
        passes = self._started_runner()
        loop = asyncio.get_running_loop()
        own: list[Request] = []
        futures: list[asyncio.Future[Outcome]] = []
        for request in requests:
            futures.append(loop.create_future())
            if request in self._futures:
                futures[-1].set_result(
                    RequestRejected(f"request {request.id!r} is under way already: send a new one")
                )
            else:
                self._futures[request] = futures[-1]
                own.append(request)
        self._new += own
        if self._passing is None or self._passing.done():
            self._passing = loop.create_task(self._pass_until_idle(passes))
        try:
            return list(await asyncio.gather(*futures))
        except asyncio.CancelledError:
            for request in own:
                self.abort(request.id)
            raise

    def abort(self, request_id: str) -> None:
        if any(request.id == request_id for request in self._futures):
            self._aborted.add(request_id)

    async def close(self) -> None:
        passing, self._passing = self._passing, None
        if passing is not None:
            passing.cancel()
            await asyncio.gather(passing, return_exceptions=True)
        closed = EngineUnavailable(f"the {self.info.kind} {self.info.model!r} was closed")
        self._settle([(request, closed) for request in self._futures])
        self._new.clear()
        await super().close()

    async def _pass_until_idle(self, passes: Passes[Any, Any]) -> None:
        try:
            while self._new or not passes.is_idle:
                new, self._new = self._new, []
                aborted, self._aborted = self._aborted, set()
                self._settle(await self._step(passes, new, aborted))
        except Exception as error:  # our own mistake: still nobody may wait for ever
            passes.clear()
            self._new.clear()
            failure = EngineError(f"the engine failed: {type(error).__name__}: {error}")
            failure.__cause__ = error
            self._settle([(request, failure) for request in self._futures])

    async def _step(
        self, passes: Passes[Any, Any], new: Sequence[Request], aborted: set[str]
    ) -> list[tuple[Request, Outcome]]:
        return await self._in_thread(lambda: passes.step(new, aborted))

    def _settle(self, ended: Sequence[tuple[Request, Outcome]]) -> None:
        for request, outcome in ended:
            future = self._futures.pop(request)
            if not future.done():  # its caller may be gone
                future.set_result(outcome)
