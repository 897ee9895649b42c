"""Requests of several clients in one batch of an embedder or a reranker."""

import asyncio
from collections import deque
from dataclasses import dataclass

from backends.base import Engine, Outcome, Request, Result


@dataclass(slots=True)
class _Waiting:
    request: Request
    outcome: "asyncio.Future[Outcome]"


class Batcher:
    """What comes while a batch runs is run together in the next; nobody waits for a batch to
    fill, and one that is alone starts at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: deque[_Waiting] = deque()
        self._running: asyncio.Task[None] | None = None

    async def run(self, request: Request) -> Result:
        """Raises what the engine gave for this request."""
        waiting = _Waiting(request, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run_all())
        outcome = await waiting.outcome
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _run_all(self) -> None:
        while batch := self._next_batch():
            outcomes: list[Outcome]
            try:
                outcomes = await self._engine.execute([waiting.request for waiting in batch])
            except Exception as error:  # the outcome of each request of this batch
                outcomes = [error] * len(batch)
            for waiting, outcome in zip(batch, outcomes, strict=True):
                if not waiting.outcome.done():  # its client may be gone
                    waiting.outcome.set_result(outcome)

    def _next_batch(self) -> list[_Waiting]:
        """As many as the engine takes, and at least one; not those whose client is gone."""
        batch: list[_Waiting] = []
        room = self._engine.info.max_batch_items
        while self._waiting and (not batch or self._waiting[0].request.num_items <= room):
            waiting = self._waiting.popleft()
            if not waiting.outcome.done():
                batch.append(waiting)
                room -= waiting.request.num_items
        return batch
