"""Two policies in real seconds, on the embedded engines of this machine, in turns."""

import asyncio
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backends.base import Engine
from backends.registry import EngineSpec
from benchmarks.scheduling.serving import Machine, Served, Way, at_rate, serve_all
from benchmarks.scheduling.workloads import WORKLOADS, Arrival, arrivals
from teola.runner import AppRunner, chosen_runner

NUM_WORDS = 250  # of a document at most: a processor reads slowly
Row = Callable[[Sequence[Served], Sequence[Served]], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Embedded(Machine):
    """The embedded engines."""

    def engines(self, app: str, way: Way) -> Mapping[str, str]:  # noqa: ARG002
        return {}  # those that the apps name


class OrderedSteps(AppRunner):
    """Its LLMs order their steps by a policy."""

    def __init__(self, engine_policy: str) -> None:
        super().__init__()
        self._engine_policy = engine_policy

    def _take(self, spec: EngineSpec) -> Engine:
        if spec.kind == "llm":
            spec = replace(spec, options={**spec.options, "policy": self._engine_policy})
        return super()._take(spec)


def compare_in_real_seconds(
    ways: Sequence[Way], count: int, rounds: int, load: float, seed: int, row: Row
) -> dict[str, dict[str, float]]:
    """A row for each way, over all its rounds. The first way serves the queries one by one before,
    and all at once, which tells the rate of load 1."""
    machine = Embedded("", "", 0)
    served: dict[str, list[Served]] = {way.policy: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        asked = [
            _shortened(each)
            for each in arrivals(WORKLOADS["mixed"], 1.0, count, seed, Path(folder))
        ]
        alone = [_run([replace(each, at_s=0.0)], machine, ways[0])[0] for each in asked]
        at_once = _run(at_rate(asked, 1e9), machine, ways[0])
        rate = load * count / max(each.ended_s for each in at_once)
        for number in range(rounds):
            for way in ways if number % 2 == 0 else ways[::-1]:
                served[way.policy] += _run(at_rate(asked, rate), machine, way)
    return {policy: row(each, alone * rounds) for policy, each in served.items()}


def _run(asked: Sequence[Arrival], machine: Machine, way: Way) -> list[Served]:
    """On engines of its own, that are loaded before the first query comes."""
    runner = OrderedSteps(way.engine_policy)
    with chosen_runner(runner):
        try:
            return asyncio.run(_warm(asked, machine, way))
        finally:
            runner.close()


async def _warm(asked: Sequence[Arrival], machine: Machine, way: Way) -> list[Served]:
    apps = {each.app: each for each in asked}
    await serve_all([replace(each, at_s=0.0) for each in apps.values()], machine, way)
    return await serve_all(asked, machine, way)


def _shortened(arrival: Arrival) -> Arrival:
    for file in arrival.arguments["files"]:
        path = Path(file)
        words = path.read_text(encoding="utf-8").split()
        path.write_text(" ".join(words[:NUM_WORDS]), encoding="utf-8")
    return arrival
