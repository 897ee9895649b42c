"""Policies of attained service in a pool that is too small: what runs keeps its pages a while."""

from collections.abc import Callable
from typing import Any

import pytest

from backends.place import Left, Place

Make = Callable[..., Any]
BY_SERVICE = ("plas", "atlas", "vtc", "dlpm")


def crowded(engine: Make, policy: str, count: int = 10) -> Any:
    """Queries of as many tenants, of which about half fit into the pool when they are long."""
    driven = engine(policy=policy, max_running=8, kv_tokens=1600, patience_ms=10**6)
    for number in range(count):
        sequence = driven.add(40, num_output=300)
        sequence.request.place = Place(f"q{number}", 5.0, tenant=f"t{number}")
    return driven


@pytest.mark.parametrize("policy", BY_SERVICE)
def test_little_is_computed_again_where_the_pool_is_too_small(engine: Make, policy: str) -> None:
    plain, fair = crowded(engine, "fcfs"), crowded(engine, policy)
    plain.run()
    fair.run()
    assert len(fair.finished) == len(plain.finished) == 10
    assert plain.planner.num_preemptions > 0
    assert fair.planner.num_preemptions <= 4 * plain.planner.num_preemptions
    assert fair.clock() <= 1.25 * plain.clock()


@pytest.mark.parametrize("policy", ["plas", "atlas", "vtc"])
def test_turns_end_so_all_get_on(engine: Make, policy: str) -> None:
    driven = crowded(engine, policy)
    served = {}
    while not driven.finished:
        driven.step()
        served |= {run.sequence: run.sequence.num_output for run in driven.steps[-1].runs}
    assert len(served) == 10  # before one was finished all had begun
    assert driven.planner.num_preemptions > 0


def test_while_all_decode_the_last_by_the_policy_loses_its_pages(engine: Make) -> None:
    driven = engine(policy="shortest_remaining", max_running=4, kv_tokens=320, watermark=0.0)
    bulk = driven.add(100, num_output=150)
    bulk.request.place = Place("bulk", 50.0, left=Left(50.0))
    driven.step(3)
    urgent = driven.add(100, num_output=90)
    urgent.request.place = Place("urgent", 1.0, left=Left(1.0))
    driven.run()
    assert driven.finished == [urgent.request.id, bulk.request.id]
    assert not urgent.was_preempted
