"""Contexts that lost their KV to a lower tier have it again before they are read."""

from collections.abc import Iterator
from typing import Any

import pytest

from backends.llm.inbox import Inbox

TEXT = "the owl sat in the old oak and said nothing at all "


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tiered(tiny: Any, clock: Clock) -> Iterator[Any]:
    options: dict[str, Any] = {"kv_tokens": 128, "page_size": 8, "stops": False}
    driver = tiny.driver(clock=clock, host_kv_tokens=512, **options)
    yield driver
    driver.core.close()
    driver.core.check_integrity()


def fill(driver: Any, letter: str = "z", num_tokens: int = 128) -> None:
    driver.prefill(None, letter * num_tokens).release()
    driver.core.transfer.tiers.worker.drain()


def rest(driver: Any) -> None:
    """Steps of an engine that nobody asks for anything."""
    driver.step()
    driver.core.transfer.tiers.worker.drain()
    driver.step()


def test_a_context_is_there_again_before_it_is_read(tiered: Any, clock: Clock) -> None:
    context = tiered.prefill(None, TEXT)
    expected = tiered.decode(context, max_tokens=10)
    expected.outputs[1].release()
    tiered.core.expect(context, 60.0)
    fill(tiered)
    assert context.table.num_computed == 0
    clock.now_s += 40.0
    rest(tiered)
    assert context.table.num_computed == 0  # not yet
    clock.now_s += 15.0
    rest(tiered)
    assert context.table.num_computed == 48
    again = tiered.decode(context, max_tokens=10)
    stats = tiered.core.cache_stats()
    assert again.outputs[0] == expected.outputs[0]
    assert (stats.num_waits, stats.prefetched_pages) == (0, 6)
    assert (stats.expected_reads, stats.kept_reads) == (1, 1)


def test_the_engine_wakes_for_what_is_due(tiered: Any, clock: Clock) -> None:
    assert tiered.core.next_work_s is None
    context = tiered.prefill(None, TEXT)
    tiered.core.expect(context, 60.0)
    assert 50.0 < tiered.core.next_work_s < 55.0
    clock.now_s += 60.0
    assert tiered.core.next_work_s == 0.0
    rest(tiered)
    assert tiered.core.next_work_s is None
    assert Inbox().wait(lambda: False, timeout_s=0.001)


def test_what_is_read_sooner_keeps_its_pages(tiered: Any, clock: Clock) -> None:
    later = tiered.prefill(None, TEXT)
    tiered.core.expect(later, 60.0)
    fill(tiered)
    clock.now_s += 55.0
    sooner = [tiered.prefill(None, letter * 60) for letter in "ab"]
    for context in sooner:
        tiered.core.expect(context, 1.0)
    rest(tiered)
    clock.now_s += 0.1
    rest(tiered)
    assert later.table.num_computed == 0
    assert [context.table.num_computed for context in sooner] == [59, 59]
    sooner[0].release()
    clock.now_s += 2.6  # half of what was left
    rest(tiered)
    assert later.table.num_computed == 48


def test_a_context_that_is_gone_is_not_fetched(tiered: Any, clock: Clock) -> None:
    context = tiered.prefill(None, TEXT)
    tiered.core.expect(context, 60.0)
    fill(tiered)
    context.release()
    clock.now_s += 58.0
    rest(tiered)
    assert tiered.core.cache_stats().num_loads == 0


def test_a_context_may_be_released_while_its_kv_comes(tiered: Any, clock: Clock) -> None:
    context = tiered.prefill(None, TEXT)
    tiered.core.expect(context, 60.0)
    fill(tiered)
    clock.now_s += 58.0
    tiered.step()
    assert tiered.core.cache_stats().num_loads == 1
    context.release()
    rest(tiered)
    assert tiered.core.cache_stats().prefetched_pages == 0


def test_a_new_word_replaces_the_earlier_one(tiered: Any, clock: Clock) -> None:
    context = tiered.prefill(None, TEXT)
    tiered.core.expect(context, 60.0)
    tiered.core.expect(context, 600.0)
    fill(tiered)
    clock.now_s += 60.0
    rest(tiered)
    assert context.table.num_computed == 0


def test_words_without_end_take_no_memory(tiered: Any) -> None:
    context = tiered.prefill(None, TEXT)
    for number in range(5000):
        tiered.core.expect(context, 1e6 + number)
    assert len(tiered.core._prefetch._turns) < 200


def test_a_pinned_context_stays_as_it_was_pinned(tiered: Any, clock: Clock) -> None:
    context = tiered.prefill(None, TEXT)
    tiered.core.expect(context, 60.0)
    fill(tiered)
    clock.now_s += 58.0
    tiered.step()
    assert tiered.core.cache_stats().num_loads == 1
    pinned = tiered.core.pins.pin(context)
    rest(tiered)
    assert context.table.num_computed == pinned
