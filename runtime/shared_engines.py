"""The engines of a process: made when first named, shared by every app that asks for the same one.

With each stand its scheduler, and what all queries together learn of it.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from backends.base import Engine, Usage
from backends.errors import ConfigError
from backends.policy.base import Policy
from backends.registry import EngineSpec, service_of
from runtime.cost.latency import EngineLatency
from runtime.engine_scheduler import EngineScheduler
from runtime.gates import Gates
from runtime.guesses import GuessHistory


class SharedEngines:
    """All methods but `listed` are called on the engines' event loop."""

    def __init__(
        self,
        policy: Policy,
        latency_of: Callable[[EngineSpec], EngineLatency] | None,
        make: Callable[[EngineSpec], Engine],
        on_aborted: Callable[[Usage], None],
    ) -> None:
        self.gates = Gates()
        self.schedulers: dict[str, EngineScheduler] = {}  # by EngineSpec.key
        self._policy = policy
        self._latency_of = latency_of
        self._make = make
        self._on_aborted = on_aborted
        self._urls: dict[str, str] = {}  # by EngineSpec.key
        self._guesses: dict[EngineScheduler, GuessHistory] = {}

    def scheduler(self, name: str, spec: EngineSpec) -> EngineScheduler:
        """The scheduler of the engine that serves `spec`, made when first asked for."""
        if spec.key not in self.schedulers:
            try:
                engine = self._make(spec)
            except ConfigError as error:
                raise ConfigError(f"engine {name!r}: {error}") from error
            self._urls[spec.key] = spec.url
            self.gates.made(spec)
            latency = self._latency_of(spec) if self._latency_of is not None else None
            service = service_of(spec)
            scheduler = EngineScheduler(
                name, engine, self._policy, latency, self._on_aborted, service
            )
            self.schedulers[spec.key] = scheduler
        return self.schedulers[spec.key]

    def guesses(
        self, schedulers: Mapping[str, EngineScheduler], engines: Mapping[str, EngineSpec]
    ) -> Mapping[str, GuessHistory]:
        """What came of the guesses at the LLMs of a query."""
        return {
            name: self._guesses.setdefault(scheduler, GuessHistory())
            for name, scheduler in schedulers.items()
            if engines[name].kind == "llm"
        }

    def listed(self) -> list[tuple[str, Engine]]:
        """Those that were made, with their URLs. Any thread may ask."""
        schedulers = [*self.schedulers.items()]
        return [(self._urls.get(key, ""), scheduler.engine) for key, scheduler in schedulers]

    async def load(self, engines: Mapping[str, EngineSpec]) -> dict[str, Exception]:
        """Load engines before they are needed; what kept some of them from it, by their names.

        Raises ConfigError for one that cannot be made.
        """
        schedulers = [self.scheduler(name, spec) for name, spec in engines.items()]
        found = await asyncio.gather(*(s.load() for s in schedulers), return_exceptions=True)
        outcomes = zip(engines, found, strict=True)
        return {name: error for name, error in outcomes if isinstance(error, Exception)}

    async def forget(self, keys: Iterable[str]) -> None:
        """Close the engines of these spec keys, which nobody will ask for again."""
        gone = {key: self.schedulers.pop(key) for key in keys if key in self.schedulers}
        for key, scheduler in gone.items():
            self._urls.pop(key, None)
            self.gates.forget(key, scheduler)
            self._guesses.pop(scheduler, None)
        await _close_all(gone.values())

    async def close(self) -> None:
        """Stop every engine and free what it holds."""
        self.gates.close()
        self._guesses.clear()
        schedulers, self.schedulers = self.schedulers, {}
        await _close_all(schedulers.values())


async def _close_all(schedulers: Iterable[EngineScheduler]) -> None:
    await asyncio.gather(*(scheduler.close() for scheduler in schedulers))
