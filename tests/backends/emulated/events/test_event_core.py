"""The core that jumps: what is counted is there, and jumps take as long as their steps."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.base import Request
from backends.emulated.descriptions import device_of, shape_of
from backends.emulated.events.core import EventCore
from backends.emulated.events.options import EventOptions
from backends.emulated.events.prefixes import Prefixes, page_keys
from backends.emulated.events.sequence import EventContext, Sequence
from backends.emulated.events.step_times import StepTimes
from backends.emulated.roofline import Roofline, Rows
from backends.policy.named import POLICIES

PAGE = 4
ROOFLINE = Roofline(device_of("h100")[0], shape_of("llama-3.1-8b", "llm"))


def core_of(kv_tokens: int, **options: object) -> EventCore:
    settings = {"page_size": PAGE, "token_budget": 64, "max_running": 6, **options}
    return EventCore(ROOFLINE, EventOptions.model_validate(settings), kv_tokens)


def sequence(order: int, prompt: int, wanted: int, keys: tuple[int, ...] = ()) -> Sequence:
    request = Request(f"{order:032x}", "decode", ())
    context = EventContext("", prompt, PAGE, keys[: prompt // PAGE])
    return Sequence(request, order, float(order), context, wanted, "")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(sorted(POLICIES)), st.integers(120, 400))
def test_all_end_with_all_they_wanted_and_nothing_stays_held(
    seed: int, policy: str, kv_tokens: int
) -> None:
    draw, core = Random(seed), core_of(kv_tokens, policy=policy)
    shared = tuple(range(1, 30))
    coming = [
        sequence(i, draw.randint(1, 80), draw.randint(0, 30), shared[: draw.randint(0, 20)])
        for i in range(12)
    ]
    dropped = {draw.randrange(12), draw.randrange(12)}
    all_of_them, ended = {each.order: each for each in coming}, set()
    while True:
        for _ in range(draw.randint(0, 3)):
            if coming:
                core.add(coming.pop(0))
        if draw.random() < 0.1 and dropped:
            order = dropped.pop()
            if order not in ended and all(each.order != order for each in coming):
                core.drop(all_of_them.pop(order))
        jump = core.plan()
        if jump is None:
            if not coming:
                break
            continue
        if draw.random() < 0.5:
            core.shorten(jump, draw.random() * jump.seconds)
        _, done = core.finish(jump)
        core.check_integrity()
        for each in done:
            assert each.num_generated == each.num_wanted
            ended.add(each.order)
    assert ended >= set(all_of_them)
    assert not core.num_running


def test_memory_that_runs_out_takes_the_pages_of_the_last() -> None:
    core = core_of(100, token_budget=200)
    for order in range(3):
        core.add(sequence(order, 12, 30))
    ended = []
    while (jump := core.plan()) is not None:
        ended += [each.order for each in core.finish(jump)[1]]
    assert core.num_preemptions > 0
    assert ended[0] == 0


def test_a_jump_takes_what_its_steps_take_one_by_one() -> None:
    times = StepTimes(ROOFLINE)
    one_by_one = sum(times.decodes_s(1, 5, 1000 + 5 * step) for step in range(37))
    assert times.decodes_s(37, 5, 1000) == pytest.approx(one_by_one, rel=1e-9)
    real = ROOFLINE.step_s([Rows(1, keys) for keys in (100, 300, 200, 150, 250)], 5)
    assert times.decodes_s(1, 5, 1000) == pytest.approx(real, rel=1e-9)


def test_a_jump_is_shortened_to_the_end_of_the_step_under_way() -> None:
    times = StepTimes(ROOFLINE)
    ends = [times.decodes_s(steps, 3, 500) for steps in range(1, 41)]
    for number, end_s in enumerate(ends, 1):
        assert times.steps_until(end_s, 40, 3, 500) == number
        assert times.steps_until(end_s + 1e-6, 40, 3, 500) == min(40, number + 1)
    assert times.steps_until(0.0, 40, 3, 500) == 1


def test_pages_are_known_by_all_that_stands_before_them() -> None:
    first, second = page_keys("abcdefgh", 4), page_keys("xbcdefgh", 4)
    assert len(first) == 2
    assert not set(first) & set(second)
    assert page_keys("abcdefghijkl", 4, first)[:2] == first
    assert page_keys("abcdefghijkl", 4, first) == page_keys("abcdefghijkl", 4)


def test_the_longest_unused_page_is_evicted_and_of_a_prefix_the_last() -> None:
    prefixes = Prefixes()
    for keys in ((1, 2, 3), (1, 4)):
        prefixes.lock(keys)
    prefixes.unlock((1, 2, 3))
    prefixes.evict(1)
    assert (prefixes.match((1, 2, 3)), prefixes.match((1, 4)), prefixes.num_locked) == (2, 2, 2)
    prefixes.evict(9)
    assert (prefixes.match((1, 2, 3)), prefixes.num_pages) == (1, 2)
