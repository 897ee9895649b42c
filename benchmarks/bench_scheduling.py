"""What policies do to queries that arrive at random, alone and beside other apps, in virtual time.

    python benchmarks/bench_scheduling.py [--workloads mixed] [--loads 0.5,0.7,0.9] [--queries 200]
        [--device rtx-3090] [--model llama-2-7b]

Apps arrive as a Poisson process and run in the real runtime on emulated engines, whose planner,
radix cache and pages are the real ones (docs/emulated.md); the clock is virtual, so the figures
are the same on every machine. A load of 1 is the rate at which the queries are done when all come
at once, under the first policy. Policies:

    request_fcfs       each request by itself, first come first served: continuous batching with
                       chunked prefill and prefix caching, as an engine does for anonymous requests
    topology           Teola's topology-aware batching before the engine
    application_aware  queries with least left first, before the engine and in its steps

The last line is one JSON object: {workload: {load: {policy: {mean_s, p50_s, p95_s, p99_s,
fairness_gap}}}}; the fairness gap is the largest difference between two apps' mean slow-downs, a
query's time by that which it takes alone.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.scheduling.workloads import APPS, WORKLOADS, Arrival, arrivals
from runtime.clock import now
from teola.virtual import on_virtual_clock

NEVER_WAITS = 0.02  # of the rate of load 1: queries that are alone
MODELS = {"embedder": "bge-large", "reranker": "bge-reranker-large"}
ENGINES = {"naive_rag": ("embedder",), "advanced_rag": ("embedder", "reranker")}


@dataclass(frozen=True, slots=True)
class Way:
    """How what waits is ordered: before the engine, and in it."""

    policy: str
    engine_policy: str


WAYS = {
    "request_fcfs": Way("fcfs", "fcfs"),
    "topology": Way("topology", "fcfs"),
    "application_aware": Way("application_aware", "application_aware"),
}


@dataclass(frozen=True, slots=True)
class Machine:
    """What the engines run on."""

    device: str
    model: str
    max_running: int

    def engines(self, app: str, engine_policy: str) -> Mapping[str, str]:
        options = f"max_running={self.max_running}&policy={engine_policy}"
        others = {kind: f"emulated:{self.device}/{MODELS[kind]}" for kind in ENGINES.get(app, ())}
        return {"llm": f"emulated:{self.device}/{self.model}?{options}", **others}


@dataclass(frozen=True, slots=True)
class Served:
    """A query that ended."""

    app: str
    seconds: float
    ended_s: float


def serve(asked: Sequence[Arrival], machine: Machine, way: Way) -> list[Served]:
    """What became of the queries, in the order of their arrival."""

    async def one(arrival: Arrival) -> Served:
        await asyncio.sleep(arrival.at_s - now())
        began_s = now()
        engines = machine.engines(arrival.app, way.engine_policy)
        app = APPS[arrival.app].using(engines=engines, memo=False, policy=way.policy)
        await app.arun(**arrival.arguments)
        return Served(arrival.app, now() - began_s, now())

    async def all_of_them() -> list[Served]:
        return await asyncio.gather(*map(one, asked))

    return on_virtual_clock(all_of_them)


def at_rate(asked: Sequence[Arrival], rate: float) -> list[Arrival]:
    """The same queries in the same order, so many a second."""
    return [Arrival(each.at_s / rate, each.app, each.arguments) for each in asked]


def row(served: Sequence[Served], alone: Sequence[Served]) -> dict[str, float]:
    """The figures of one policy; `alone` are the same queries, none beside another."""
    seconds = sorted(each.seconds for each in served)
    slower: dict[str, list[float]] = {}
    for each, by_itself in zip(served, alone, strict=True):
        slower.setdefault(each.app, []).append(each.seconds / by_itself.seconds)
    means = [statistics.mean(values) for values in slower.values()]
    found = {f"p{percent}_s": _percentile(seconds, percent) for percent in (50, 95, 99)}
    return {
        "mean_s": round(statistics.mean(seconds), 3),
        **found,
        "fairness_gap": round(max(means) - min(means), 3),
    }


def _percentile(ordered: Sequence[float], percent: int) -> float:
    return round(ordered[min(len(ordered) * percent // 100, len(ordered) - 1)], 3)


def bench(
    workload: str, loads: Sequence[float], count: int, seed: int, machine: Machine, console: Console
) -> dict[str, Any]:
    """The rows of one workload: by load and policy."""
    with tempfile.TemporaryDirectory() as folder:
        asked = list(arrivals(WORKLOADS[workload], 1.0, count, seed, Path(folder)))
        first = next(iter(WAYS.values()))
        at_once = serve(at_rate(asked, 1e9), machine, first)
        capacity = count / max(each.ended_s for each in at_once)
        alone = serve(at_rate(asked, capacity * NEVER_WAITS), machine, first)
        rows: dict[str, Any] = {}
        for load in loads:
            here = at_rate(asked, capacity * load)
            rows[f"{load:g}"] = {
                name: row(serve(here, machine, way), alone) for name, way in WAYS.items()
            }
            show(console, workload, load, rows[f"{load:g}"])
    return rows


def show(console: Console, workload: str, load: float, rows: Mapping[str, Any]) -> None:
    names = list(next(iter(rows.values())))
    table = Table(title=f"{workload}, load {load:g}")
    for name in ("policy", *names, "mean, to the first"):
        table.add_column(name, justify="right")
    first = next(iter(rows.values()))["mean_s"]
    for policy, found in rows.items():
        cells = (f"{found[name]:.2f}" for name in names)
        table.add_row(policy, *cells, f"{first / found['mean_s']:.2f}x")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--loads", default="0.5,0.7,0.9")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--device", default="rtx-3090")
    parser.add_argument("--model", default="llama-2-7b")
    parser.add_argument("--max-running", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    machine = Machine(args.device, args.model, args.max_running)
    loads = [float(each) for each in args.loads.split(",")]
    console = Console(stderr=True)
    results = {
        name: bench(name, loads, args.queries, args.seed, machine, console)
        for name in args.workloads.split(",")
    }
    print(json.dumps(results))


if __name__ == "__main__":
    main()
