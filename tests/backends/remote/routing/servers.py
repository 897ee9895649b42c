"""Servers as fakes that can be killed, hang and be slow, and the engine over them."""

import asyncio
from collections.abc import Sequence
from itertools import count
from random import Random
from statistics import mean
from typing import Any

from backends.base import Outcome, Request, Result
from backends.engine_load import EngineLoad
from backends.errors import EngineUnavailable
from backends.fake.capabilities import REMOTE
from backends.fake.llm import FakeLLM
from backends.remote.routing.routed_engine import RoutedEngine

_ids = count()


class Server(FakeLLM):
    """A server of an LLM with a prefix cache, which computes one prompt after another."""

    def __init__(self, **options: Any) -> None:
        able = {*REMOTE["vllm"], "generate"}
        defaults = {"capabilities": able, "prefill_token_s": 0.001, "token_s": 0.01}
        super().__init__("fake:", defaults | options)
        self.seen: list[str] = []  # ids of requests that a client does not answer itself
        self.is_down = False
        self.hangs = False
        self.failure: Exception | None = None  # of every request
        self.num_polls = 0
        self._died = asyncio.Event()
        self.num_starts = 0

    async def start(self) -> None:
        self.num_starts += 1
        if self.is_down:
            raise EngineUnavailable("connection refused")

    def kill(self) -> None:
        self.is_down = True
        self._died.set()

    def restart(self) -> None:
        """It comes back with an empty cache."""
        self.is_down = False
        self._died = asyncio.Event()
        self._cache._prompts.clear()

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        if self.is_down:
            raise EngineUnavailable("connection refused")
        if self.failure is not None:
            return [self.failure] * len(requests)
        asked = [r for r in requests if r.op != "prefill" or r.attrs.get("ahead")]
        self.seen += [request.id for request in asked]
        work = asyncio.ensure_future(self._work(requests))
        died = asyncio.ensure_future(self._died.wait())
        try:
            await asyncio.wait((work, died), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise EngineUnavailable("the connection was reset")
            return work.result()
        finally:
            work.cancel()
            died.cancel()

    async def _work(self, requests: Sequence[Request]) -> list[Outcome]:
        if self.hangs:
            await asyncio.sleep(3600.0)
        return await super().execute(requests)


class LoadedServer(Server):
    """One that tells its load, and has other clients."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.others = EngineLoad()

    async def load(self) -> EngineLoad:
        self.num_polls += 1
        if self.is_down:
            raise EngineUnavailable("connection refused")
        return self.others


def routed(*servers: Server, routing: str = "predicted_ttft", **options: Any) -> RoutedEngine:
    engines = {f"http://server{i}:8000": server for i, server in enumerate(servers)}
    return RoutedEngine("vllm://servers/model", engines, routing, random=Random(1), **options)


class Caller:
    """Sends requests to an engine, and notes when their texts begin."""

    def __init__(self, engine: RoutedEngine) -> None:
        self.engine = engine
        self.outcomes: list[Outcome] = []
        self.first_s: list[float] = []

    async def ask(self, *prompt: str, context: Any = None, **attrs: Any) -> Outcome:
        """A generate, or a decode of a context."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        first: list[float] = []

        def emit(text: str) -> None:
            if not first:
                first.append(loop.time() - began_s)

        op = "generate" if context is None else "decode"
        inputs = prompt if context is None else (context, *prompt)
        request = Request(f"{next(_ids):032x}", op, inputs, attrs, emit=emit)
        outcome = (await self.engine.execute([request]))[0]
        self.outcomes.append(outcome)
        self.first_s += first
        return outcome

    async def prefill(self, *prompt: str, context: Any = None, ahead: bool = False) -> Any:
        attrs = {"ahead": True} if ahead else {}
        request = Request(f"{next(_ids):032x}", "prefill", (context, *prompt), attrs)
        outcome = (await self.engine.execute([request]))[0]
        assert isinstance(outcome, Result), outcome
        return outcome.outputs[0]

    @property
    def num_failed(self) -> int:
        return sum(isinstance(outcome, Exception) for outcome in self.outcomes)

    @property
    def cached_tokens(self) -> int:
        return sum(o.usage.cached_tokens for o in self.outcomes if isinstance(o, Result))

    @property
    def mean_first_s(self) -> float:
        return mean(self.first_s)


def words(name: str, num: int) -> str:
    return " ".join(f"{name}{i}" for i in range(num)) + " "
