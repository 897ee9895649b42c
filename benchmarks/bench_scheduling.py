"""What policies do to queries that arrive at random, alone and beside other apps.

    python benchmarks/bench_scheduling.py [--workloads mixed] [--policies fcfs,application_aware]
        [--loads 0.5,0.7,0.9] [--queries 100] [--processes 2] [--device rtx-3090]
        [--model llama-2-7b] [--sweep FILE] [--wall]

Apps arrive as a Poisson process and run in the real runtime on emulated engines, whose planner,
radix cache and pages are the real ones (docs/emulated.md); the clock is virtual, so the figures
are the same on every machine. A load of 1 is the rate at which the queries are done when all come
at once, under `fcfs`. That is continuous batching with chunked prefill and prefix caching, each
request by itself, as an engine does for anonymous requests. A policy orders requests before the
engines, and in their steps where engines have it. All policies that have a name are compared.

Parrot's case of map-reduce, beside engines that limit what they hold for the sake of each request
(`scheduling/published.py`), is one query after another:

    python benchmarks/bench_scheduling.py --workloads parrot_25,parrot_50,parrot_75,parrot_100
        --policies latency_per_request,two_requests,fcfs,parrot,application_aware --loads 0.02
        --queries 5 --device a100 --model llama-2-13b --max-running 128

With --wall the first and the last of --policies are compared in real seconds too, on the embedded
engine, in turns.

The last line is one JSON object, {workload: {policy: {mean_s, p99_s, fairness_gap, ...}}}, at the
load nearest to 0.7. The fairness gap is the largest difference between two apps' mean slow-downs, a
query's time by that which it takes alone. --sweep writes all loads: {workload: {load: {...}}}.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backends.policy.named import POLICIES
from benchmarks.scheduling.published import LATENCY_CAPACITY
from benchmarks.scheduling.serving import Machine, Served, Way, at_rate, serve
from benchmarks.scheduling.wall import compare_in_real_seconds
from benchmarks.scheduling.workloads import SWEPT, WORKLOADS, Arrival, arrivals
from teola.simulation.fleet import orders_steps
from teola.simulation.served import percentile

NEVER_WAITS = 0.02  # of the rate of load 1: queries that are alone
REPORTED = 0.7  # the load of the last line
BASELINE = "fcfs"
NAMES = (BASELINE, *(name for name in POLICIES if name != BASELINE))
PUBLISHED = {  # baselines of papers
    "latency_per_request": Way(BASELINE, BASELINE, f"&kv_tokens={LATENCY_CAPACITY}"),
    "two_requests": Way(BASELINE, BASELINE, "&max_running=2"),
}
WAYS = {
    **{name: Way(name, name if orders_steps(name) else BASELINE) for name in NAMES},
    **PUBLISHED,
}

Rows = dict[str, dict[str, float]]  # by policy


@dataclass(frozen=True, slots=True)
class Run:
    """One policy under one load; what a process is given."""

    asked: Sequence[Arrival]
    machine: Machine
    way: Way

    def __call__(self) -> list[Served]:
        return serve(self.asked, self.machine, self.way)


def call(run: Run) -> list[Served]:
    return run()


def all_of(runs: Sequence[Run], processes: int) -> list[list[Served]]:
    """In order."""
    if processes == 1:
        return [run() for run in runs]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        return list(pool.map(call, runs))


def row(served: Sequence[Served], alone: Sequence[Served]) -> dict[str, float]:
    """The figures of one policy; `alone` are the same queries, none beside another."""
    seconds = sorted(each.seconds for each in served)
    slower: dict[str, list[float]] = {}
    for each, by_itself in zip(served, alone, strict=True):
        slower.setdefault(each.app, []).append(each.seconds / by_itself.seconds)
    means = [statistics.mean(values) for values in slower.values()]
    found = {f"p{percent}_s": round(percentile(seconds, percent), 3) for percent in (50, 95, 99)}
    return {
        "mean_s": round(statistics.mean(seconds), 3),
        **found,
        "fairness_gap": round(max(means) - min(means), 3),
        "wasted_tokens": sum(each.wasted_tokens for each in served),
    }


def bench(
    workload: str,
    policies: Sequence[str],
    loads: Sequence[float],
    count: int,
    seed: int,
    machine: Machine,
    console: Console,
    processes: int = 1,
) -> dict[str, Rows]:
    """The rows of one workload, by load."""
    with tempfile.TemporaryDirectory() as folder:
        asked = list(arrivals(WORKLOADS[workload], 1.0, count, seed, Path(folder)))
        at_once = serve(at_rate(asked, 1e9), machine, WAYS[BASELINE])
        capacity = count / max(each.ended_s for each in at_once)
        lone = Run(at_rate(asked, capacity * NEVER_WAITS), machine, WAYS[BASELINE])
        cases = [(load, name) for load in loads for name in policies]
        runs = [Run(at_rate(asked, capacity * load), machine, WAYS[name]) for load, name in cases]
        alone, *served = all_of([lone, *runs], processes)
    rows: dict[str, Rows] = {f"{load:g}": {} for load in loads}
    for (load, name), one in zip(cases, served, strict=True):
        rows[f"{load:g}"][name] = row(one, alone)
    for load, found in rows.items():
        show(console, f"{workload}, load {load} of {capacity:.3g} queries/s", found)
    return rows


def show(console: Console, title: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    names = list(next(iter(rows.values())))
    table = Table(title=title)
    for name in ("policy", *names, "mean, to the first"):
        table.add_column(name, justify="right")
    first = next(iter(rows.values()))["mean_s"]
    for policy, found in rows.items():
        cells = (f"{found[name]:.2f}" for name in names)
        table.add_row(policy, *cells, f"{first / found['mean_s']:.2f}x")
    console.print(table)


def reported(sweep: Mapping[str, Rows]) -> Rows:
    """The rows of the load nearest to the one that is told."""
    return sweep[min(sweep, key=lambda load: abs(float(load) - REPORTED))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", default=",".join(SWEPT))
    parser.add_argument("--policies", default=",".join(NAMES))
    parser.add_argument("--loads", default="0.5,0.7,0.9")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--device", default="rtx-3090")
    parser.add_argument("--model", default="llama-2-7b")
    parser.add_argument("--max-running", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sweep", type=Path)
    parser.add_argument("--wall", action="store_true")
    parser.add_argument("--wall-queries", type=int, default=16)
    parser.add_argument("--wall-rounds", type=int, default=2)
    args = parser.parse_args()
    machine = Machine(args.device, args.model, args.max_running)
    policies, loads = args.policies.split(","), [float(each) for each in args.loads.split(",")]
    console = Console(stderr=True, width=120)
    sweeps = {
        name: bench(
            name, policies, loads, args.queries, args.seed, machine, console, args.processes
        )
        for name in args.workloads.split(",")
    }
    if args.sweep is not None:
        args.sweep.write_text(json.dumps(sweeps, indent=1), encoding="utf-8")
    result: dict[str, Any] = {name: reported(sweep) for name, sweep in sweeps.items()}
    if args.wall:
        pair = [WAYS[policies[0]], WAYS[policies[-1]]]
        rows = compare_in_real_seconds(
            pair, args.wall_queries, args.wall_rounds, REPORTED, args.seed, row
        )
        show(console, "mixed on the embedded engine, real seconds", rows)
        result["mixed, wall clock"] = rows
    print(json.dumps(result))


if __name__ == "__main__":
    main()
