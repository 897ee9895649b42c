"""Several emulated engines behind one name: `emulated:2xh100/MODEL`, each on a device of its own.

A request that goes on from a context goes where its KV is. Any other goes to the instance with the
fewest requests under way, and among equals to the one that was given the fewest so far.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from backends.base import Context, Engine, EngineInfo, Outcome, Request, Result


class EmulatedEngine(Engine, Protocol):
    """An engine whose device counts its time."""

    @property
    def device_busy_s(self) -> float:
        """Seconds of the device's steps so far."""


class Instances:
    """`engines` are alike."""

    def __init__(self, url: str, engines: Sequence[EmulatedEngine]) -> None:
        self.engines = engines
        self._url = url
        self._under_way = [0] * len(engines)  # requests
        self._given = [0] * len(engines)
        self._running: dict[str, int] = {}  # the place of its instance, by request id
        self._homes: WeakKeyDictionary[Context, int] = WeakKeyDictionary()

    @property
    def info(self) -> EngineInfo:
        """The slots of all together."""
        each = [engine.info for engine in self.engines]
        return replace(each[0], model=self._url, num_slots=sum(info.num_slots for info in each))

    @property
    def device_busy_s(self) -> float:
        """Of all together."""
        return sum(engine.device_busy_s for engine in self.engines)

    async def start(self) -> None:
        await asyncio.gather(*(engine.start() for engine in self.engines))

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        """Requests of an LLM go each for itself, others as one batch."""
        if self.engines[0].info.kind != "llm":
            return await self._run(requests)
        each = await asyncio.gather(*(self._run([request]) for request in requests))
        return [outcome for (outcome,) in each]

    def abort(self, request_id: str) -> None:
        if (place := self._running.get(request_id)) is not None:
            self.engines[place].abort(request_id)

    async def pin(self, context: Any) -> int:
        """See `backends.base.Pinning`."""
        engine: Any = self.engines[self._homes.get(context, 0)]
        num_tokens: int = await engine.pin(context)
        return num_tokens

    def expect(self, uses: Sequence[tuple[Any, float]]) -> None:
        """See `backends.base.Expecting`; each instance passes over contexts of others."""
        for engine in self.engines:
            asking: Any = engine
            asking.expect(uses)

    async def close(self) -> None:
        await asyncio.gather(*(engine.close() for engine in self.engines))

    async def _run(self, requests: Sequence[Request]) -> list[Outcome]:
        place = self._place_of(requests[0])
        self._running |= {request.id: place for request in requests}
        self._under_way[place] += len(requests)
        self._given[place] += len(requests)
        try:
            outcomes = await self.engines[place].execute(requests)
        finally:
            self._under_way[place] -= len(requests)
            for request in requests:
                self._running.pop(request.id, None)
        self._note(outcomes, place)
        return outcomes

    def _place_of(self, request: Request) -> int:
        for given in request.inputs[:1]:
            if isinstance(given, Context) and given in self._homes:
                return self._homes[given]
        places = range(len(self.engines))
        return min(places, key=lambda place: (self._under_way[place], self._given[place]))

    def _note(self, outcomes: Iterable[Outcome], place: int) -> None:
        results = (outcome for outcome in outcomes if isinstance(outcome, Result))
        for context in _contexts(result.outputs for result in results):
            self._homes[context] = place


def _contexts(values: Iterable[Any]) -> Iterator[Context]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _contexts(value)
        elif isinstance(value, Context):
            yield value
