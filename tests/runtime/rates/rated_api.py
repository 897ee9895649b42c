"""An API with rate limits as tests see it: it notes when what reached it, and may refuse."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from backends.base import EngineInfo, Outcome, Request, Result, Usage
from backends.errors import EngineError
from backends.policy.application_aware import application_aware
from backends.policy.base import Policy
from backends.rate_limits import RateLimits, RateReport
from graph_opt.objective import Kind
from runtime.clock import now
from runtime.engine_scheduler import EngineScheduler
from runtime.hints import Hint
from runtime.job import Job

BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Arrival:
    at_s: float
    name: str
    tokens: int  # that the request takes, as the API counts


class RatedAPI:
    """Answers each request after `latency_s`; `refuse` may say that it does not."""

    def __init__(
        self,
        limits: RateLimits | None = None,
        latency_s: float = 1.0,
        refuse: Callable[[Request], Exception | None] = lambda _: None,
        num_slots: int = 64,
        start_s: float = 0.0,
    ) -> None:
        self.info = EngineInfo("llm", "api", num_slots=num_slots, rate_limits=limits)
        self.arrivals: list[Arrival] = []
        self.refused: list[str] = []
        self.tell: Callable[[RateReport], None] = lambda _: None
        self._latency_s = latency_s
        self._refuse = refuse
        self._start_s = start_s
        self._aborts: dict[str, asyncio.Event] = {}

    def watch_rates(self, tell: Callable[[RateReport], None]) -> None:
        self.tell = tell

    async def start(self) -> None:
        await asyncio.sleep(self._start_s)

    async def close(self) -> None:
        """Nothing to free."""

    def abort(self, request_id: str) -> None:
        if request_id in self._aborts:
            self._aborts[request_id].set()

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        return [await self._answer(request) for request in requests]

    async def _answer(self, request: Request) -> Outcome:
        name = str(request.attrs["name"])
        refusal = self._refuse(request)
        if refusal is not None:
            self.refused.append(name)
            return refusal
        prompt = len(request.inputs[0]) // BYTES_PER_TOKEN
        written = int(request.attrs.get("written", request.attrs["max_tokens"]))
        self.arrivals.append(Arrival(now(), name, prompt + written))
        aborted = self._aborts[request.id] = asyncio.Event()
        try:
            await asyncio.wait_for(aborted.wait(), self._latency_s)
        except TimeoutError:
            return Result(("",), Usage(prefill_tokens=prompt, decode_tokens=written))
        return EngineError("aborted")

    def most_requests_a_minute(self) -> int:
        return max(len(window) for window in self._minutes())

    def most_tokens_a_minute(self) -> int:
        return max(sum(arrival.tokens for arrival in window) for window in self._minutes())

    def _minutes(self) -> list[list[Arrival]]:
        """What came in each minute that begins with an arrival."""
        ends = [arrival.at_s + 60.0 - 1e-6 for arrival in self.arrivals]
        found = []
        for i, end_s in enumerate(ends):
            found.append([a for a in self.arrivals[i:] if a.at_s < end_s])
        return found


class Clients:
    """Queries that send requests to one API, and what they got, by the name of the request."""

    def __init__(self, api: RatedAPI, policy: Policy = application_aware) -> None:
        self.scheduler = EngineScheduler("api", api, policy)
        self.outcomes: dict[str, Outcome] = {}
        self.ended_s: dict[str, float] = {}
        self._left: set[str] = set()
        self._ids = count()
        self._all_ended = asyncio.Event()

    def ask(
        self,
        name: str,
        *,
        prompt: int = 10,
        max_tokens: int = 10,
        written: int | None = None,
        query: str = "q",
        level_s: float = 1.0,
        kind: Kind = "latency",
        emit: Callable[[str], None] | None = None,
    ) -> Job:
        attrs = {"name": name, "max_tokens": max_tokens}
        if written is not None:
            attrs["written"] = written
        text = "x" * (prompt * BYTES_PER_TOKEN)
        request = Request(f"{next(self._ids):032x}", "generate", (text,), attrs, emit=emit)

        def on_done(outcome: Outcome) -> None:
            self.outcomes[name] = outcome
            self.ended_s[name] = now()
            self.forget(name)

        hint = Hint(0, level_s, kind=kind)
        job = Job(request, query, hint, lambda _: None, on_done)
        self._left.add(name)
        self._all_ended.clear()
        self.scheduler.submit(job)
        return job

    def forget(self, name: str) -> None:
        self._left.discard(name)
        if not self._left:
            self._all_ended.set()

    async def all_ended(self) -> None:
        await self._all_ended.wait()
        await self.scheduler.close()
