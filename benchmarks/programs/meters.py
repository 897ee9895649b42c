"""How many prompt tokens an engine computed, and how many it found in its cache."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
import psutil

from backends.base import Outcome, Request, Result
from teola.runner import default_runner


@dataclass(frozen=True)
class Tokens:
    """Counters; they only grow."""

    prefilled: int = 0
    cached: int = 0

    def __sub__(self, before: "Tokens") -> "Tokens":
        return Tokens(self.prefilled - before.prefilled, self.cached - before.cached)

    @property
    def hit_rate(self) -> float:
        """Of the prompt tokens, the share that was in the cache."""
        return round(self.cached / max(1, self.prefilled + self.cached), 3)


def cpu_s() -> float:
    """Seconds of CPU of this process and the servers that it started: what a busy machine does not
    change much."""
    this = psutil.Process()
    times = [process.cpu_times() for process in (this, *this.children())]
    return float(sum(time.user + time.system for time in times))


class Meter(Protocol):
    """Counters of one engine, over all that used it."""

    def read(self) -> Tokens: ...


class ServerMeter:
    """Of an engine server: what its `/metrics` say."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/metrics"

    def read(self) -> Tokens:
        text = httpx.get(self._url).raise_for_status().text
        return Tokens(counter(text, "prefilled_tokens"), counter(text, "cached_tokens"))


def counter(text: str, name: str) -> int:
    """Of teola's metrics, in Prometheus' text format."""
    found = re.search(rf"^teola_{name}_total (\S+)$", text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"the server's /metrics do not say teola_{name}_total")
    return int(float(found[1]))


class EngineMeter:
    """Of an engine in this process, which is loaded: what each of its results says, also of work
    that no query waits for."""

    def __init__(self, url: str) -> None:
        (scheduler,) = (
            scheduler
            for key, scheduler in default_runner()._runtime._engines.schedulers.items()
            if url in key
        )
        self._engine: Any = scheduler.engine
        self._execute = self._engine.execute
        self._engine.execute = self._counted
        self._tokens = Tokens()

    async def _counted(self, requests: Sequence[Request]) -> list[Outcome]:
        outcomes: list[Outcome] = await self._execute(requests)
        for outcome in outcomes:
            if isinstance(outcome, Result):
                usage, so_far = outcome.usage, self._tokens
                prefilled = so_far.prefilled + usage.prefill_tokens
                self._tokens = Tokens(prefilled, so_far.cached + usage.cached_tokens)
        return outcomes

    def read(self) -> Tokens:
        return self._tokens
