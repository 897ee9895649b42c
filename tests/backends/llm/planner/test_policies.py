"""Who comes before whom, and who may start."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.llm.options import PolicyName
from backends.llm.planner.policies import by_level, by_prefix, level_of
from backends.llm.sequence.sequence import ServiceStats

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("served_s", "level"), [(0, 0), (0.99, 0), (1, 1), (2.9, 1), (3, 2), (6.9, 2), (7, 3)]
)
def test_a_level_holds_twice_the_time_of_the_one_above(served_s: float, level: int) -> None:
    assert level_of(ServiceStats(served_s=served_s), quantum_s=1.0) == level


@pytest.mark.parametrize(("prefill_s", "level"), [(0.5, 0), (1, 0), (1.1, 1), (2, 1), (3.5, 2)])
def test_a_long_prompt_skips_levels_that_could_not_hold_it(prefill_s: float, level: int) -> None:
    service = ServiceStats(prefill_s=prefill_s)
    assert level_of(service, quantum_s=1.0) == level
    service.served_s = 2.0**level  # all of its first quantum
    assert level_of(service, quantum_s=1.0) == level + 1


def test_what_used_up_its_quantum_gives_its_slot_to_what_comes(engine: Make) -> None:
    driven = engine(policy="mlfq", max_running=1, quantum_ms=100)
    long = driven.add(4, num_output=100)
    driven.step(3)
    short = driven.add(4, num_output=3)
    driven.step()
    assert driven.tokens(long) == 1  # same level: first come, first served
    driven.step(12)
    assert len(short.ids) == 4 + 3
    assert driven.finished == [short.request.id]
    driven.run()
    assert driven.planner.num_preemptions == 0  # it kept its pages while it paused


def test_what_has_not_run_for_long_gets_a_quantum_before_all_others(engine: Make) -> None:
    driven = engine(policy="mlfq", max_running=1, quantum_ms=30, patience_ms=300)
    starved = driven.add(4, num_output=200)
    driven.step(20)
    gaps = []
    last_s = driven.clock()
    for _ in range(150):
        if len(driven.planner.waiting) < 3:
            driven.add(4, num_output=2)
        driven.step()
        if driven.tokens(starved):
            gaps.append(driven.clock() - last_s)
            last_s = driven.clock()
    assert 0.3 <= max(gaps) <= 0.3 + 0.05
    assert len([gap for gap in gaps if gap < 0.02]) > len(gaps) / 3  # a quantum, not a step


@pytest.mark.parametrize("policy", get_args(PolicyName))
def test_larger_priority_takes_the_slot_and_smaller_goes_on_afterwards(
    engine: Make, policy: str
) -> None:
    driven = engine(policy=policy, max_running=1)
    low = driven.add(4, num_output=6)
    driven.step(2)
    high = driven.add(4, num_output=3, priority=1)
    driven.step()
    assert (driven.tokens(low), driven.tokens(high)) == (0, 4)
    driven.run()
    assert driven.finished == [high.request.id, low.request.id]


def test_larger_priority_takes_pages_from_smaller(engine: Make) -> None:
    driven = engine(kv_tokens=64, page_size=8)
    low = [driven.add(20, num_output=10) for _ in range(2)]
    driven.step()
    high = driven.add(40, num_output=4, priority=1)
    driven.step()
    assert driven.tokens(high) == 40
    assert [s.is_running for s in low] == [True, False]
    driven.run()
    assert driven.finished[0] == high.request.id


def test_equal_priorities_keep_the_order_of_the_policy(engine: Make) -> None:
    driven = engine(policy="lpm", max_running=1)
    driven.add([7] * 64, num_output=2)
    driven.run()
    last = driven.add([7] * 64, num_output=2, priority=-1)
    cold = driven.add([9] * 64, num_output=2)
    warm = driven.add([7] * 64 + [1], num_output=2)
    driven.run()
    assert driven.finished[1:] == [s.request.id for s in (warm, cold, last)]


def test_the_oldest_of_all_starves_for_its_patience_and_no_longer(engine: Make) -> None:
    driven = engine(max_running=2, patience_ms=300)
    low = [driven.add(4, num_output=2, priority=-1) for _ in range(2)]
    while not low[0].is_running:
        while len(driven.planner.waiting) < 5:
            driven.add(4, num_output=4)
        driven.step()
    assert 0.3 <= driven.clock() - low[0].service.arrived_s < 0.35
    assert not low[1].is_running  # those that grew old take one place, not all
    assert sum(run.sequence.request.priority < 0 for run in driven.steps[-1].runs) == 1
    driven.run()


def test_the_longest_cached_prefix_goes_first(engine: Make) -> None:
    driven = engine(policy="lpm", max_running=1)
    driven.add([7] * 64, num_output=2)
    driven.add([8] * 32, num_output=2)
    driven.run()
    cold = driven.add([9] * 64, num_output=2)
    some = driven.add([8] * 32 + [1] * 32, num_output=2)
    most = driven.add([7] * 64 + [1], num_output=2)
    driven.run()
    assert driven.finished[2:] == [s.request.id for s in (most, some, cold)]


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_nobody_overtakes_one_that_has_waited_for_its_patience(engine: Make, data: Any) -> None:
    driven = engine(policy="lpm", max_running=2, patience_ms=200, kv_tokens=1024)
    hot = [5] * 64
    for _ in range(60):
        for is_hot in data.draw(st.lists(st.booleans(), max_size=2)):
            tail = [driven.num_added] * 8
            driven.add(hot + tail if is_hot else tail * 5, num_output=4)
        before, now_s = list(driven.planner.waiting), driven.clock()
        driven.core.step()
        left = [s for s in before if s in driven.planner.waiting]
        started = [s for s in before if s not in driven.planner.waiting]
        overdue = [s for s in left if now_s - s.service.arrived_s >= 0.2]
        for late in started:
            assert all(late.arrival < old.arrival for old in overdue)


def test_without_ageing_a_cold_prompt_starves(engine: Make) -> None:
    waits = []
    for patience_ms in (1e9, 300):
        driven = engine(policy="lpm", max_running=1, patience_ms=patience_ms)
        driven.add([5] * 64, num_output=1)
        driven.step()
        driven.add([5] * 65, num_output=1)
        cold = driven.add([9] * 64, num_output=1)
        while cold in driven.planner.waiting and driven.clock() < 3:
            driven.add([5] * 65, num_output=1)
            driven.step()
        waits.append(driven.clock() - cold.service.arrived_s)
    assert waits[0] > 2.8
    assert waits[1] < 0.4


def test_an_order_only_looks(engine: Make) -> None:
    driven = engine(policy="lpm", max_running=4)
    driven.add([7] * 40, num_output=2)
    driven.run()
    for _ in range(3):
        driven.add([7] * 48, num_output=2)
    waiting, tree = list(driven.planner.waiting), driven.core.cache.tree
    clock, pages = tree.clock, tree.num_pages
    for order in (by_prefix(1.0), by_level(0.1, 1.0)):
        assert sorted(order(waiting, driven.view, 0.0), key=lambda s: s.arrival) == waiting
    assert (tree.clock, tree.num_pages) == (clock, pages)
    assert driven.planner.waiting == waiting


def test_the_impatient_start_before_what_came_a_little_earlier(engine: Make) -> None:
    driven = engine(policy="slo", max_running=1)
    calm = driven.add(4, num_output=2, itl_s=2.0)
    driven.clock.now_s += 1.5
    quick = driven.add(4, num_output=2, itl_s=0.1)
    driven.clock.now_s += 1.0
    late = driven.add(4, num_output=2, itl_s=0.1)
    driven.run()
    assert driven.finished == [s.request.id for s in (quick, calm, late)]


def test_a_decode_whose_context_is_computed_starts_before_new_prompts(engine: Make) -> None:
    firsts = []
    for policy in ("fcfs", "sarathi"):
        driven = engine(policy=policy, max_running=4, token_budget=64)
        parent = driven.add(8, num_output=1)
        outcomes: list[Any] = []
        while not outcomes:
            outcomes = driven.core.step()
        context = outcomes[0][1].outputs[1]
        driven.add(200, num_output=1)
        driven.core.add(replace(parent.request, id="f" * 32, inputs=(context,)))
        decode = driven.planner.waiting[-1]
        driven.step()
        firsts.append(driven.tokens(decode))
    assert firsts == [0, 1]


def test_nobody_starts_whom_the_pool_could_not_hold(engine: Make) -> None:
    driven = engine(kv_tokens=64, page_size=8)
    first = driven.add(30, num_output=16)
    second = driven.add(26, num_output=8)  # 4 pages beside 4, and the first is to grow by 2
    driven.step()
    assert second in driven.planner.waiting
    driven.run()
    assert driven.finished == [first.request.id, second.request.id]
    assert driven.planner.num_preemptions == 0


def test_pages_that_those_ahead_hold_are_counted_once(engine: Make) -> None:
    driven = engine(kv_tokens=128, page_size=8)
    driven.add([3] * 64, num_output=2)
    driven.step()
    for _ in range(3):  # 8 pages each, all but one of them shared
        driven.add([3] * 64, num_output=2)
    driven.step()
    assert len(driven.planner.running) == 3


def test_who_lost_its_pages_is_ahead_of_those_who_came_later(engine: Make) -> None:
    driven = engine(kv_tokens=64, page_size=8)
    first, second = (driven.add(20, num_output=40) for _ in range(2))
    driven.step()
    third = driven.add(20, num_output=2)
    while not driven.planner.num_preemptions:
        driven.step()
    assert driven.planner.running == [first]
    assert driven.planner.waiting == [second, third]


def test_its_own_pages_are_no_saving_to_who_was_preempted(engine: Make) -> None:
    driven = engine(kv_tokens=64, page_size=8)
    _, second = driven.add(20, num_output=14), driven.add(20, num_output=14)
    driven.run()
    assert driven.planner.num_preemptions == 1
    computed = sum(run.num_tokens for step in driven.steps for run in step.runs)
    assert computed < 2 * (20 + 14) + 20  # some of its pages were found again
    assert second.num_cached == 0


def test_a_sequence_starts_only_with_a_page_to_spare_for_each_that_runs(engine: Make) -> None:
    driven = engine(kv_tokens=80, page_size=8)
    for _ in range(2):
        driven.add(20, num_output=3)  # 3 pages with what it writes
    driven.step()
    assert len(driven.planner.running) == 2
    third = driven.add(20, num_output=3)  # 3 pages, where 4 are free and 2 to be kept
    driven.step()
    assert third in driven.planner.waiting
    driven.run()
    assert third.request.id in driven.finished
