"""A core that runs fused prefills one after another."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from backends.base import Chunk, Outcome, Request, Result
from backends.llm.fusion.fused_prefill import Fuser

Fused = Callable[..., Result]


class FusedDriver:
    """Over a driver of a core."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.num_prefills = 0
        page_size = driver.core.cache.pool.page_size
        self._fuser = Fuser(self._execute, self._abort, page_size, lambda: driver.core)

    def prefill(self, fusion: str, prefix: str, chunks: Sequence[str], rest: str) -> Outcome:
        """Of a prefix, chunks and what follows them."""
        self.num_prefills += 1
        inputs = (None, prefix, *map(Chunk, chunks), rest)
        request = Request(f"{self.num_prefills:031x}f", "prefill", inputs, {"fusion": fusion})
        return asyncio.run(self._fuser.prefill(request))

    async def _execute(self, request: Request) -> Outcome:
        self.driver.core.add(request)
        (outcome,) = self.driver.run(request.id)
        return outcome

    def _abort(self, request_id: str) -> None:
        self.driver.core.abort(request_id)


@pytest.fixture
def fused() -> Callable[[Any], FusedDriver]:
    return FusedDriver
