"""KV of chunks and of fused prompts that went to lower tiers, or was lost."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.base import Result, Tokens
from backends.llm.sequence.sequence import Sequence

PREFIX = "Read this. "
CHUNKS = tuple(f"Passage {i} tells of {i} ships and a storm." for i in range(3))
QUESTION = " Which ships came?"
TIERS: list[dict[str, Any]] = [{"host_kv_tokens": 1024}, {"disk_kv": "kv"}]


@pytest.fixture
def tiered(some: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def make(**options: Any) -> Any:
        if "disk_kv" in options:
            options["disk_kv"] = str(tmp_path / options["disk_kv"])
        made.append(some.driver(kv_tokens=384, stops=False, **options))
        return made[-1]

    yield make
    for driver in made:
        driver.core.close()
        driver.core.check_integrity()


def asked(both: Any, chunks: tuple[str, ...] = CHUNKS, plan: str = "lego(4)") -> Result:
    outcome = both.prefill(plan, PREFIX, chunks, QUESTION)
    assert isinstance(outcome, Result), outcome
    return outcome


def tokens(driver: Any, context: Any) -> list[int]:
    decoded = driver.decode(context, max_tokens=10, ignore_eos=True)
    ids: list[int] = decoded.outputs[1].ids[context.num_tokens :]
    return ids


def evict_all(driver: Any) -> None:
    driver.prefill(None, "z" * 380).release()
    driver.outcomes.clear()
    if driver.core.transfer is not None:
        driver.core.transfer.tiers.worker.drain()


@pytest.mark.parametrize("tiers", TIERS, ids=lambda tiers: next(iter(tiers)))
def test_chunks_come_back_from_a_lower_tier(
    tiered: Callable[..., Any], fused: Any, tiers: dict[str, Any]
) -> None:
    driver = tiered(**tiers)
    both = fused(driver)
    asked(both).outputs[0].release()
    evict_all(driver)
    again = asked(both, CHUNKS[::-1])
    assert again.fusion is not None
    assert again.fusion.num_encoded == 0
    stats = driver.core.cache_stats()
    assert stats.host_hit_tokens + stats.disk_hit_tokens >= sum(map(len, CHUNKS)) - 3 * 16
    fresh = tiered()
    expected = tokens(fresh, asked(fused(fresh), CHUNKS[::-1]).outputs[0])
    assert tokens(driver, again.outputs[0]) == expected


@pytest.mark.parametrize("kv_tier_format", ["int8", "cachegen"])
def test_chunks_come_back_in_a_lossy_form(
    tiered: Callable[..., Any], fused: Any, kv_tier_format: str
) -> None:
    driver = tiered(host_kv_tokens=1024, kv_tier_format=kv_tier_format)
    both = fused(driver)
    first = asked(both)
    num_fused = first.usage.fused_tokens
    first.outputs[0].release()
    evict_all(driver)
    again = asked(both)
    assert again.fusion is not None
    assert (again.fusion.num_encoded, again.usage.fused_tokens) == (0, num_fused)
    assert driver.core.cache_stats().host_hit_tokens >= sum(map(len, CHUNKS)) - 3 * 16
    assert len(tokens(driver, again.outputs[0])) == 10


def test_chunks_that_were_lost_are_computed_again(tiered: Callable[..., Any], fused: Any) -> None:
    driver = tiered()
    both = fused(driver)
    first = asked(both)
    expected = tokens(driver, first.outputs[0])
    first.outputs[0].release()
    evict_all(driver)
    again = asked(both)
    assert again.fusion is not None
    assert again.fusion.num_encoded == len(CHUNKS)
    assert tokens(driver, again.outputs[0]) == expected


@pytest.mark.parametrize("tiers", TIERS, ids=lambda tiers: next(iter(tiers)))
def test_fused_kv_never_goes_to_a_lower_tier(
    tiered: Callable[..., Any], fused: Any, tiers: dict[str, Any]
) -> None:
    """Nor comes what an exact prompt with its tokens left there."""
    driver = tiered(**tiers)
    asked(fused(driver), CHUNKS[::-1])
    evict_all(driver)
    exact = driver.call("prefill", None, PREFIX + "".join(CHUNKS[::-1]) + QUESTION)
    assert exact.usage.cached_tokens <= len(PREFIX + CHUNKS[-1])
    fresh = tiered()
    plain = fresh.call("prefill", None, PREFIX + "".join(CHUNKS[::-1]) + QUESTION)
    assert tokens(driver, exact.outputs[0]) == tokens(fresh, plain.outputs[0])


def running(driver: Any) -> list[Sequence]:
    sequences: list[Sequence] = driver.core.planner.running
    return sequences


def test_a_fused_prefill_that_is_preempted_links_again(some: Any, fused: Any) -> None:
    expected = asked(fused(some.driver(stops=False)))
    driver = some.driver(stops=False, token_budget=5)
    both, step, preempted = fused(driver), driver.step, []

    def watched() -> None:
        step()
        for sequence in list(running(driver)):
            if sequence.table.is_private and len(preempted) < 3:
                preempted.append(sequence.table.num_computed)
                driver.core.planner._preempt(sequence)

    driver.step = watched
    found = asked(both)
    assert len(preempted) == 3
    assert found.usage.fused_tokens == expected.usage.fused_tokens
    plain = some.driver(stops=False)
    context = asked(fused(plain)).outputs[0]
    assert tokens(driver, found.outputs[0]) == tokens(plain, context)


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_decode_that_is_preempted_goes_on(some: Any, fused: Any, is_lost: bool) -> None:
    """Over the fused context's KV, and where that was lost too over exact KV of the same tokens."""
    driver = some.driver(stops=False)
    context = asked(fused(driver)).outputs[0]
    expected = driver.decode(context, max_tokens=20, ignore_eos=True).outputs[1].ids
    decode = driver.submit("decode", context, max_tokens=20, ignore_eos=True)
    for _ in range(6):
        driver.step()
    (sequence,) = running(driver)
    written = tuple(sequence.ids)
    if is_lost:
        driver.core.cache.drop(context.table)
    driver.core.planner._preempt(sequence)
    (outcome,) = driver.run(decode)
    if is_lost:
        fresh = some.driver(stops=False)
        num_left = len(expected) - len(written)
        again = fresh.prefill(None, Tokens(written))
        expected = fresh.decode(again, max_tokens=num_left, ignore_eos=True).outputs[1].ids
    assert outcome.outputs[1].ids == expected
    assert outcome.outputs[1].table.is_private is not is_lost
