"""An engine that learns from its server whether it can speak in tokens: it can where the tokenizer
that the server uses is on this machine too."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from backends.base import Capability, Engine, EngineInfo, Expecting, Outcome, Request
from backends.engine_load import EngineLoad, ReportsLoad
from backends.errors import EngineError, EngineUnavailable
from backends.rate_limits import RateReport
from backends.remote.chat_llm import ChatLLM
from backends.remote.client import Client

Find = Callable[[Client], Awaitable[Path | None]]


class ModeAtStart:
    """Until `start` its `info` promises what both modes have."""

    def __init__(
        self,
        client: Client,
        promised: frozenset[Capability],
        find: Find,
        text: Callable[[], Engine],
        token: Callable[[Callable[[], Path]], Engine],
    ) -> None:
        """`find` asks the server. `text` and `token` make the engines over the same client;
        `token`, whose capabilities are `promised`, is given what finds the tokenizer."""
        self._client = client
        self._find = find
        self._make_text = text
        self._make_token = token
        self._engine: Engine | None = None
        known = text().info
        self._info = replace(known, capabilities=known.capabilities & promised)
        self._starting = asyncio.Lock()

    @property
    def info(self) -> EngineInfo:
        return self._info if self._engine is None else self._engine.info

    async def start(self) -> None:
        async with self._starting:
            if self._engine is None:
                self._engine = await self._started()

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        return await self._running().execute(requests)

    def abort(self, request_id: str) -> None:
        if self._engine is not None:
            self._engine.abort(request_id)

    async def load(self) -> EngineLoad:
        """Raises EngineError where the server does not answer, or does not say."""
        engine = self._running()
        if not isinstance(engine, ReportsLoad):
            raise EngineError(f"{self._info.model} does not say how busy it is in text mode")
        return await engine.load()

    def expect(self, uses: Sequence[tuple[Any, float]]) -> None:
        """See `backends.base.Expecting`; before `start` nothing is kept."""
        if self._engine is not None and "next_use" in self._engine.info.capabilities:
            cast(Expecting, self._engine).expect(uses)

    def watch_rates(self, tell: Callable[[RateReport], None]) -> None:
        """See `backends.rate_limits.ReportsRates`."""
        self._client.on_rates = tell

    def share_contexts(self, owner: object) -> None:
        """Those of token mode are shared as they are; those of text mode have this owner."""
        make_text = self._make_text

        def make_shared() -> Engine:
            engine = make_text()
            if isinstance(engine, ChatLLM):
                engine.share_contexts(owner)
            return engine

        self._make_text = make_shared

    async def close(self) -> None:
        await (self._client.close() if self._engine is None else self._engine.close())

    async def _started(self) -> Engine:
        """In token mode where that is possible: a tokenizer that is not the server's is none."""
        path = await self._find(self._client)
        if path is not None:
            with suppress(EngineUnavailable):
                token = self._make_token(lambda: path)
                await token.start()
                return token
        text = self._make_text()
        await text.start()
        return text

    def _running(self) -> Engine:
        if self._engine is None:
            raise EngineUnavailable(f"engine {self._info.model} is not running: call start()")
        return self._engine
