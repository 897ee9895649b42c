"""The engine turns guesses off by the time its steps take: 10 ms, and 2 ms more a guess."""

from typing import Any

import pytest

from backends.base import Request
from backends.fake.paged_model import PagedModel
from backends.llm.core import LLMCore
from backends.llm.model.batch import StepBatch
from benchmarks.replay import VirtualClock, virtual_core


def step_s(batch: StepBatch) -> float:
    return 0.010 + 0.002 * (len(batch.tokens) - len(batch.spans))


def decode(core: LLMCore, num_tokens: int) -> Any:
    core.add(Request("0" * 32, "decode", (None, "abcabc"), {"max_tokens": num_tokens}))
    while core.has_work:
        for _, outcome in core.step():
            result = outcome
    return result


PROMPT_LEN = 6


def never_twice(self: PagedModel, tokens: Any) -> int:
    """ZZZ and a new letter, again and again: what followed ZZZ before is never what follows now."""
    place = len(tokens) - PROMPT_LEN
    return 255 if place % 4 else place // 4


def test_guesses_that_are_always_wrong_cost_a_few_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PagedModel, "_next", never_twice)
    clock = VirtualClock()
    core = virtual_core(PagedModel(), clock, step_s, speculation="ngram")
    result = decode(core, 900)
    assert result.usage.guessed_tokens > result.usage.accepted_tokens == 0
    assert not core.speculation_stats().is_on
    assert clock.now_s < 900 * 0.010 * 1.04


def test_guesses_that_are_right_stay_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PagedModel, "_next", lambda self, tokens: 7)
    clock = VirtualClock()
    core = virtual_core(PagedModel(), clock, step_s, speculation="ngram")
    result = decode(core, 2000)
    assert core.speculation_stats().is_on
    assert result.usage.accepted_tokens > 0.7 * 2000
    assert clock.now_s < 2000 * 0.010 * 0.5


def test_the_same_run_takes_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PagedModel, "_next", never_twice)
    times = []
    for _ in range(2):
        clock = VirtualClock()
        decode(virtual_core(PagedModel(), clock, step_s, speculation="ngram"), 300)
        times.append(clock.now_s)
    assert times[0] == times[1] > 300 * 0.010
