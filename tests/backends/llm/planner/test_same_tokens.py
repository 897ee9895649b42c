"""What a policy must not change: which tokens come out, that all finish, and the books."""

import random
from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.fake.paged_model import PagedModel
from backends.llm.options import PolicyName
from backends.llm.planner.admission import last_first
from backends.llm.planner.planner import BatchPlanner
from benchmarks.baseline_policies import BASELINES
from benchmarks.replay import Arrival, VirtualClock, replay, virtual_core

Make = Callable[..., Any]
POLICIES = (*get_args(PolicyName), *BASELINES)
SMALL = {"kv_tokens": 160, "page_size": 8, "token_budget": 24, "max_running": 4}
QUICK = {"quantum_ms": 40, "patience_ms": 400}


def arrivals_of(seed: int, count: int = 14) -> list[Arrival]:
    """Half of the prompts share a head; priorities and targets of all kinds."""
    rng = random.Random(seed)
    head = rng.choices(range(256), k=24)
    return [
        Arrival(
            rng.uniform(0, 0.5),
            (head if rng.random() < 0.5 else []) + rng.choices(range(256), k=rng.randint(1, 60)),
            rng.randint(1, 60),
            priority=rng.randint(-1, 1),
            itl_s=rng.choice((None, 0.03, 0.2)),
        )
        for _ in range(count)
    ]


def tokens(arrivals: list[Arrival], **options: Any) -> tuple[list[list[int]], BatchPlanner]:
    clock = VirtualClock()
    core = virtual_core(
        PagedModel(), clock, lambda batch: 0.01 + 0.001 * len(batch.tokens), **options
    )
    served = replay(core, clock, arrivals, after_step=core.check_integrity)
    core.flush()
    core.check_integrity()
    assert core.cache.pool.num_free == core.cache.pool.num_pages, "a page leaked"
    return [one.ids for one in served], core.planner


@pytest.mark.parametrize("policy", POLICIES)
def test_all_policies_give_the_same_tokens_in_a_pool_that_is_too_small(policy: str) -> None:
    arrivals = arrivals_of(seed=1)
    expected, _ = tokens(arrivals)
    found, planner = tokens(arrivals, policy=policy, **SMALL, **QUICK)
    assert found == expected
    assert planner.num_preemptions > 0


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 10_000),
    policy=st.sampled_from(POLICIES),
    kv_tokens=st.integers(152, 400),
    token_budget=st.integers(1, 64),
    max_running=st.integers(1, 8),
    itl_ms=st.sampled_from([None, 20.0, 100.0]),
    watermark=st.sampled_from([0.0, 0.01, 0.3]),
)
def test_whatever_the_settings_everybody_finishes_with_the_same_tokens(
    seed: int, policy: str, **settings: Any
) -> None:
    arrivals = arrivals_of(seed, count=8)
    expected, _ = tokens(arrivals)
    found, _ = tokens(arrivals, policy=policy, page_size=8, **settings, **QUICK)
    assert found == expected


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_with_a_real_model(tiny: Any, policy: str) -> None:
    results = []
    for options in ({}, {"policy": policy, **SMALL, **QUICK}):
        clock, arrivals = VirtualClock(), arrivals_of(seed=3, count=8)
        core = virtual_core(tiny.model, clock, lambda batch: 0.01, **options)
        served = replay(core, clock, arrivals, after_step=core.check_integrity)
        results.append([one.ids for one in served])
    assert results[0] == results[1]


@pytest.mark.parametrize("policy", POLICIES)
def test_the_first_in_line_gets_on_in_every_step(engine: Make, policy: str) -> None:
    driven = engine(policy=policy, **SMALL, **QUICK)
    for arrival in arrivals_of(seed=5):
        driven.add(list(arrival.ids), arrival.num_output, priority=arrival.priority)
    while driven.core.has_work:
        step = driven.step()
        assert step.runs
        first = step.lineup[0]
        if first.is_running or first in {run.sequence for run in step.runs}:
            assert any(run.sequence is first for run in step.runs)


def test_the_last_in_line_is_the_victim_and_no_planned_run_is_taken_back(engine: Make) -> None:
    driven = engine(kv_tokens=96, page_size=8, watermark=0.0)
    sequences = [driven.add(20, num_output=40) for _ in range(3)]
    while not driven.planner.num_preemptions:
        step = driven.step()
    assert driven.planner.waiting == sequences[2:]
    assert {run.sequence for run in step.runs} == set(sequences[:2])
    assert last_first(sequences, driven.view, 0.0) == sequences[::-1]


def test_a_page_that_a_preempted_decode_was_to_fill_is_never_published(engine: Make) -> None:
    """The newest decode stands at a page's end when an older prompt takes its pages: what the tree
    names must have been computed. The fake model's tokens would tell."""
    for start in (0, 3, 7):
        driven = engine(kv_tokens=128, page_size=8, token_budget=16, watermark=0.0)
        old = driven.add(60, num_output=12)
        driven.step()
        new = driven.add([9] * (8 + start), num_output=40)
        driven.run()
        roomy = engine()
        expected = [roomy.add([1] * 60, 12), roomy.add([9] * (8 + start), 40)]
        roomy.run()
        assert [s.ids for s in (old, new)] == [s.ids for s in expected]


def test_who_waits_for_pages_keeps_its_own(engine: Make) -> None:
    driven = engine(kv_tokens=64, page_size=8, watermark=0.0)
    old = driven.add(24, num_output=40)
    new = driven.add(16, num_output=16)
    driven.run()
    assert driven.planner.num_preemptions <= 2  # not one a step
    assert driven.finished in ([old.request.id, new.request.id], [new.request.id, old.request.id])


def test_an_abort_of_a_pausing_sequence_frees_its_pages(engine: Make) -> None:
    driven = engine(max_running=1)
    low = driven.add(40, num_output=30)
    driven.step()
    driven.add(4, num_output=30, priority=1)
    driven.step()
    assert low.is_running
    assert not driven.tokens(low)
    driven.core.abort(low.request.id)
    driven.core.check_integrity()
    assert low not in driven.planner.running
    driven.run()
