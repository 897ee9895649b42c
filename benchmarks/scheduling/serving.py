"""Queries that arrive at their times and are served by the real runtime, virtually or really."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.scheduling.workloads import APPS, PARROT, Arrival
from runtime.clock import now
from runtime.events import Event
from teola.virtual import on_virtual_clock

MODELS = {"embedder": "bge-large", "reranker": "bge-reranker-large"}
ENGINES = {"naive_rag": ("embedder",), "advanced_rag": ("embedder", "reranker")}


@dataclass(frozen=True, slots=True)
class Way:
    """How what waits is ordered: before the engine, and in its steps."""

    policy: str
    engine_policy: str
    llm_options: str = ""  # further ones, as in a URL


@dataclass(frozen=True, slots=True)
class Machine:
    """The emulated devices that the engines run on."""

    device: str
    model: str
    max_running: int

    def engines(self, app: str, way: Way) -> Mapping[str, str]:
        options = f"max_running={self.max_running}&policy={way.engine_policy}{way.llm_options}"
        if app in PARROT:
            options += "&output_tokens=160"  # more than they take, so all are of full length
        others = {kind: f"emulated:{self.device}/{MODELS[kind]}" for kind in ENGINES.get(app, ())}
        return {"llm": f"emulated:{self.device}/{self.model}?{options}", **others}


@dataclass(frozen=True, slots=True)
class Served:
    """A query that ended."""

    app: str
    seconds: float
    ended_s: float
    wasted_tokens: int = 0  # computed on a guess, for nothing


def serve(asked: Sequence[Arrival], machine: Machine, way: Way) -> list[Served]:
    """What became of the queries on emulated devices, in the order of their arrival."""
    return on_virtual_clock(lambda: serve_all(asked, machine, way))


async def serve_all(asked: Sequence[Arrival], machine: Machine, way: Way) -> list[Served]:
    """The same on the running loop's clock."""
    began_s = now()

    async def one(arrival: Arrival) -> Served:
        await asyncio.sleep(began_s + arrival.at_s - now())
        arrived_s, wasted = now(), 0

        def listen(event: Event) -> None:
            nonlocal wasted
            wasted += event.fields.get("wasted_tokens", 0)

        engines = machine.engines(arrival.app, way)
        changes = {"engines": engines, "memo": False, "policy": way.policy, "listener": listen}
        await APPS[arrival.app].using(**changes).arun(**arrival.arguments)
        return Served(arrival.app, now() - arrived_s, now() - began_s, wasted)

    return await asyncio.gather(*map(one, asked))


def at_rate(asked: Sequence[Arrival], rate: float) -> list[Arrival]:
    """The same queries in the same order, so many a second."""
    return [Arrival(each.at_s / rate, each.app, each.arguments) for each in asked]
