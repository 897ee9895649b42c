"""Asks servers for their load, now and then, and only while requests run."""

import asyncio
from collections.abc import Sequence

from backends.errors import EngineUnavailable
from backends.remote.routing.endpoint import Endpoint

POLL_S = 1.0


class LoadPoller:
    """One task for all endpoints, which ends when nothing runs."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = endpoints
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Requests run."""
        is_idle = self._task is None or self._task.done()
        if is_idle and any(endpoint.tells_load for endpoint in self._endpoints):
            self._task = asyncio.get_running_loop().create_task(self._poll())

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _poll(self) -> None:
        while any(e.tells_load for e in self._endpoints) and any(
            e.is_busy for e in self._endpoints
        ):
            await asyncio.gather(*(self._ask(e) for e in self._endpoints if _answers(e)))
            await asyncio.sleep(POLL_S)

    async def _ask(self, endpoint: Endpoint) -> None:
        try:
            async with asyncio.timeout(POLL_S):
                await endpoint.ask_load()
        except (EngineUnavailable, TimeoutError):
            pass  # requests find out whether it is gone


def _answers(endpoint: Endpoint) -> bool:
    return endpoint.tells_load and endpoint.is_started and not endpoint.breaker.is_open
