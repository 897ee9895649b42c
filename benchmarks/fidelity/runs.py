"""The same queries for real, on the embedded engine, and on a virtual clock, on its emulation.

What the real run answered is recorded and said again, so that both compute the same tokens.
"""

import asyncio
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import teola as tl
from backends.emulated.timeline import WallTimer
from benchmarks.fidelity.load import Asked, apps_on
from benchmarks.fidelity.watched import Watched, watched_steps
from runtime.clock import now
from teola.runner import AppRunner, chosen_runner, default_runner
from teola.simulation.served import Served
from teola.virtual import on_virtual_clock

ENGINE = {"token_budget": 512, "max_running": 32, "kv_tokens": 4096}
THREADS = 1  # of the embedded engine: the other core is for the runtime, and for whatever else runs
WARM_UP = 12  # queries that run before, one after another: they fill the KV pool


@dataclass(slots=True)
class Run:
    """What became of the queries, and what the engine did for them."""

    served: list[Served]
    preemptions: int
    busy_s: float  # of all steps
    watched: Watched = field(default_factory=Watched)  # of a real run


@dataclass(frozen=True, slots=True)
class Way:
    """The order before the engine, and the options of the engine."""

    policy: str = "fcfs"
    options: Mapping[str, Any] = field(default_factory=dict)


def run_really(model: str, asked: Sequence[Asked], way: Way, record: Path) -> Run:
    """On engines of its own; takes as long as the arrivals."""
    return _really(tl.LLM(model, threads=THREADS, **{**ENGINE, **way.options}), asked, way, record)


def run_asleep(url: str, asked: Sequence[Asked], way: Way) -> Run:
    """Likewise, on an emulated device that sleeps through each step: the Python of an engine comes
    on top, as it does where steps are computed, and the machine's speed does not matter."""

    def sleep(timer: WallTimer, step_s: float, *_: Any, **__: Any) -> None:  # noqa: ARG001
        time.sleep(step_s)

    with patch.object(WallTimer, "spend", sleep):
        return _really(tl.LLM(url, **{**ENGINE, **way.options}), asked, way)


def _really(llm: tl.LLM, asked: Sequence[Asked], way: Way, record: Path | None = None) -> Run:
    runner = AppRunner()
    try:
        with chosen_runner(runner), watched_steps() as watched:
            served = asyncio.run(_serve(apps_on(llm), asked, way.policy, record))
            busy_s = sum(step.seconds for step in watched.steps)
            return Run(served, _preemptions(runner), busy_s, watched)
    finally:
        runner.close()


def run_emulated(
    url: str,
    asked: Sequence[Asked],
    way: Way,
    recording: Path | None = None,
    record: Path | None = None,
) -> Run:
    """The same on a virtual clock; without a recording texts are made up."""
    said = {} if recording is None else {"recording": str(recording)}
    llm = tl.LLM(url, **said, **{**ENGINE, **way.options})

    async def run() -> Run:
        served = await _serve(apps_on(llm), asked, way.policy, record)
        runner = default_runner()
        busy_s = sum(getattr(engine, "device_busy_s", 0.0) for _, engine in runner.engines)
        return Run(served, _preemptions(runner), busy_s)

    return on_virtual_clock(run)


async def _serve(
    apps: Mapping[str, Any], asked: Sequence[Asked], policy: str, record: Path | None
) -> list[Served]:
    changed = {
        name: app.using(memo=False, policy=policy, record=None if record is None else str(record))
        for name, app in apps.items()
    }

    async def one(query: Asked, began_s: float) -> Served:
        await asyncio.sleep(began_s + query.at_s - now())
        served = Served(now())
        await changed[query.app].using(listener=served.on_event).arun(**query.arguments)
        served.ended_s = now()
        return served

    for query in asked[:WARM_UP]:
        await changed[query.app].arun(**query.arguments)
    began_s = now() - asked[WARM_UP].at_s
    runs: list[Awaitable[Served]] = [one(query, began_s) for query in asked[WARM_UP:]]
    return list(await asyncio.gather(*runs))


def _preemptions(runner: AppRunner) -> int:
    cores = [getattr(engine, "_core", None) for _, engine in runner.engines]
    return sum(core.planner.num_preemptions for core in cores if core is not None)
