"""What a choice costs while 100, 1,000 and 10,000 requests wait, under each policy.

    python benchmarks/bench_waiting.py [--repeats 3] [--only queue|planner]

queue: a scheduler's queue (`runtime.waiting`): microseconds to take one request and to put one.
planner: the embedded engine's planner, 32 sequences that run on a model that costs nothing:
milliseconds to plan a step, the mean of many. Last line: one JSON object,
{"queue": {policy: {waiting: us}}, "planner": {policy: {waiting: ms}}}.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backends.fake.paged_model import PagedModel
from backends.place import Place
from backends.policy.base import Policy, Ticket
from backends.policy.named import POLICIES
from benchmarks.replay import Arrival, VirtualClock, request_of, virtual_core
from runtime.waiting.ready_queue import ReadyQueue

WAITING = (100, 1_000, 10_000)
PLANNER_POLICIES = ("fcfs", "sarathi", "lpm", "slo", "mlfq", "application_aware", "vtc")
TAKES = 2_000
STEPS = 200
CALLS_A_QUERY = 8


def queue_us(policy: Policy, num_waiting: int) -> float:
    """A request is taken and another comes."""
    queue: ReadyQueue[Ticket] = ReadyQueue(policy)
    for number in range(num_waiting):
        queue.put(_ticket(number))
    began_s = time.perf_counter()
    for number in range(num_waiting, num_waiting + TAKES):
        queue.take(1, 0.0)
        queue.put(_ticket(number))
    return (time.perf_counter() - began_s) / TAKES * 1e6


def _ticket(number: int) -> Ticket:
    return Ticket(number, 0.0, _place(number), "decode", 1, 10.0 + number)


def _place(number: int) -> Place:
    query, call = divmod(number, CALLS_A_QUERY)
    group = "map" if call else None
    tenant = f"t{query % 50}"
    return Place(f"q{query}", 1.0 + query * 37 % 100, call, group, tenant=tenant)


def planner_ms(policy: str, num_waiting: int) -> float:
    """Milliseconds of one `plan`, the mean of many steps."""
    clock = VirtualClock()
    core = virtual_core(PagedModel(), clock, lambda _: 0.01, policy=policy, max_running=32)
    for number in range(32 + num_waiting):
        request = request_of(Arrival(0.0, [number % 250] * 8, 1_000), f"{number:032x}")
        request.place = _place(number)
        core.add(request)
    spent: list[float] = []
    plan = core.planner.plan

    def timed() -> Any:
        began_s = time.perf_counter()
        step = plan()
        spent.append(time.perf_counter() - began_s)
        return step

    core.planner.plan = timed  # type: ignore[method-assign]
    for _ in range(STEPS):
        core.step()
    return statistics.mean(spent[STEPS // 10 :]) * 1e3


def table(
    measure: Callable[[Any, int], float], of: Mapping[str, Any], repeats: int
) -> dict[str, dict[int, float]]:
    return {
        name: {
            count: round(min(measure(policy, count) for _ in range(repeats)), 3)
            for count in WAITING
        }
        for name, policy in of.items()
    }


def show(title: str, rows: Mapping[str, Mapping[int, float]]) -> None:
    print(f"{title:30}" + "".join(f"{count:>10,}" for count in WAITING))
    for name, row in rows.items():
        print(f"{name:30}" + "".join(f"{row[count]:10.3f}" for count in WAITING))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=("queue", "planner"))
    args = parser.parse_args()
    found = {}
    if args.only != "planner":
        found["queue"] = table(queue_us, POLICIES, args.repeats)
        show("queue, us a request", found["queue"])
    if args.only != "queue":
        names = {name: name for name in PLANNER_POLICIES}
        found["planner"] = table(planner_ms, names, args.repeats)
        show("planner, ms a step", found["planner"])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
