"""A core that runs fused prefills, alone or beside other requests."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from backends.base import Chunk, Outcome, Request
from backends.errors import EngineError
from backends.llm.fusion.fused_prefill import Fuser


class FusedDriver:
    """Over a driver of a core."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.num_prefills = 0
        self.on_last: Callable[[], None] = lambda: None  # before the step that reads the chunks
        page_size = driver.core.cache.pool.page_size
        self._fuser = Fuser(self._execute, self._abort, page_size, lambda: driver.core)

    def prefill(
        self, fusion: str, prefix: Any, chunks: Sequence[str], rest: str, **attrs: Any
    ) -> Outcome:
        """Of a prefix (a text, or a context), chunks and what follows them."""
        (outcome,) = self.run(self.request(fusion, prefix, chunks, rest, **attrs))
        return outcome

    def request(
        self, fusion: str, prefix: Any, chunks: Sequence[str], rest: str, **attrs: Any
    ) -> Request:
        before = (None, prefix) if isinstance(prefix, str) else (prefix,)
        return self.plain("prefill", *before, *map(Chunk, chunks), rest, fusion=fusion, **attrs)

    def plain(self, op: str, *inputs: Any, **attrs: Any) -> Request:
        self.num_prefills += 1
        return Request(f"{self.num_prefills:031x}f", op, inputs, attrs)

    def run(self, *requests: Request) -> list[Outcome]:
        """All of them at once, step by step."""
        return asyncio.run(self._run(requests))

    async def _run(self, requests: Sequence[Request]) -> list[Outcome]:
        fused = (
            self._fuser.prefill(x) if "fusion" in x.attrs else self._execute(x) for x in requests
        )
        return list(await asyncio.gather(*fused))

    async def _execute(self, request: Request) -> Outcome:
        if "." not in request.id:
            self.on_last()
        try:
            self.driver.core.add(request)
        except EngineError as refusal:
            return refusal
        while request.id not in self.driver.outcomes:
            self.driver.step()
            await asyncio.sleep(0)
        return self.driver.outcomes.pop(request.id)

    def abort(self, request_id: str) -> None:
        self._fuser.abort(request_id)

    def _abort(self, request_id: str) -> None:
        if (request := self.driver.core.abort(request_id)) is not None:
            self.driver.outcomes[request.id] = EngineError("the request was aborted")
