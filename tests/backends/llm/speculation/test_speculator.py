"""Guesses in steps: which steps have them, whose they are, and what the books say after."""

import random
from collections.abc import Sequence as Items
from typing import Any

import numpy as np
import pytest

from backends.base import Request, Result, Tokens
from backends.errors import RequestRejected
from backends.fake.paged_model import PagedModel
from backends.llm.model.batch import Run
from backends.llm.planner.planner import Step
from backends.llm.sequence.sequence import Sequence
from backends.llm.speculation.ngram import NgramProposer
from backends.llm.speculation.speculator import Ask, Speculator
from benchmarks.replay import VirtualClock, virtual_core
from benchmarks.soak_engine import check, soaking

LOOP = "abcabcabcabc"


class Oracle(NgramProposer):
    """Knows what the fake model will say, and lies now and then."""

    def __init__(self, model: PagedModel, seed: int) -> None:
        super().__init__()
        self._model = model
        self._random = random.Random(seed)

    def propose(self, asks: Items[Ask]) -> list[list[int]]:
        return [self._guess(sequence, most) for sequence, most in asks]

    def _guess(self, sequence: Sequence, most: int) -> list[int]:
        ids = list(sequence.ids)
        for _ in range(self._random.randint(0, most)):
            lie = self._random.randrange(256)
            is_true = self._random.random() < 0.7
            ids.append(self._model._next(np.array(ids)) if is_true else lie)
        return ids[len(sequence.ids) :]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_three_hundred_random_requests_with_guesses_leak_and_spoil_nothing(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with soaking(PagedModel, seed) as (soak, roomy):
        speculator = Speculator(Oracle(PagedModel(), seed), soak.core.cache, most=4)
        monkeypatch.setattr(speculator.controller, "wants_guesses", lambda num_decodes: True)
        soak.core.speculator = speculator
        report = soak.run(300)
        check(soak, roomy)
    assert report.wrong == []
    assert report.checked > 20
    stats = speculator.stats
    assert 50 < stats.accepted_tokens < stats.guessed_tokens


def test_pages_of_guesses_are_named_when_they_have_come_true(tiny_loops: Any) -> None:
    driver = tiny_loops.driver(stops=False, speculation="ngram", page_size=4)
    writer = driver.submit("decode", None, LOOP, max_tokens=60, speculate=True)
    cache = driver.core.cache
    named = 0
    while driver.core.has_work:
        (sequence,) = driver.core.live.groups[writer].live
        driver.step()
        if sequence.is_running:
            assert sequence.table.num_named <= sequence.table.num_computed < len(sequence.ids)
            assert sequence.table.num_named >= sequence.table.num_computed // 4 * 4
            assert len(sequence.table.pages) == cache.pool.pages_for(sequence.table.num_computed)
            assert cache.tree.num_pages == sequence.table.num_named // 4  # nothing rejected
            named = max(named, sequence.table.num_named)
    assert named >= 60


def test_a_follower_shares_what_was_guessed_and_reads_no_rejected_token(tiny_loops: Any) -> None:
    """It takes the writer's pages while the writer still guesses, at each step in turn."""
    plain = tiny_loops.driver(stops=False, page_size=4)
    text = plain.decode(None, LOOP, max_tokens=60).outputs[1].ids
    for num_steps in range(2, 14, 2):
        driver = tiny_loops.driver(stops=False, speculation="ngram", page_size=4)
        driver.submit("decode", None, LOOP, max_tokens=60, speculate=True)
        for _ in range(num_steps):
            driver.step()
        (sequence,) = driver.core.planner.running
        prompt = list(sequence.ids)
        follower = driver.prefill(None, Tokens(tuple(prompt)))
        assert follower.ids == prompt
        result = driver.decode(follower, max_tokens=10)
        assert result.outputs[1].ids == text[: len(prompt) + 10]


def test_a_copy_takes_far_fewer_steps_than_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model says its prompt of 50 tokens over and over."""
    monkeypatch.setattr(PagedModel, "_next", lambda self, tokens: int(tokens[-50]))
    core = virtual_core(PagedModel(), VirtualClock(), lambda batch: 0.01, speculation="ngram")
    prompt = "".join(chr(33 + i) for i in range(50))
    attrs = {"max_tokens": 100, "speculate": True}
    core.add(Request("0" * 32, "decode", (None, prompt), attrs))
    while core.has_work:
        for _, result in core.step():
            assert isinstance(result, Result)
            assert result.outputs[0] == prompt * 2
            assert result.usage.accepted_tokens == 100 - core.num_steps
    assert core.num_steps < 0.3 * 100


def test_a_step_with_a_prompts_chunk_has_no_guesses(tiny_loops: Any) -> None:
    driver = tiny_loops.driver(stops=False, speculation="ngram", token_budget=16)
    driver.submit("decode", None, LOOP, max_tokens=80, speculate=True)
    for _ in range(6):
        driver.step()
    before = driver.core.speculation_stats().guessed_tokens
    assert before > 0
    reader = driver.submit("prefill", None, "x" * 60)
    while reader not in driver.outcomes:
        driver.step()
        if reader not in driver.outcomes:
            assert driver.core.speculation_stats().guessed_tokens == before


def test_a_chunk_of_one_token_is_no_decode(
    tiny_loops: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NgramProposer, "_continue", lambda self, sequence, most: [1] * most)
    driver = tiny_loops.driver(stops=False, speculation="ngram")
    driver.submit("decode", None, LOOP, max_tokens=80, speculate=True)
    driver.step()
    driver.step()
    (sequence,) = driver.core.planner.running
    for num_logits, num_runs_with_guesses in ((0, 0), (1, 1)):
        step = Step(budget=9, runs=[Run(sequence, 1, num_logits, sequence.table.num_computed)])
        driver.core.speculator.extend(step)
        assert sum(bool(run.guesses) for run in step.runs) == num_runs_with_guesses


def test_guesses_take_what_the_budget_leaves(tiny_loops: Any) -> None:
    driver = tiny_loops.driver(stops=False, speculation="ngram", guesses=8, token_budget=4)
    for _ in range(3):
        driver.submit("decode", None, LOOP, max_tokens=40, speculate=True)
    while driver.core.has_work:
        before = driver.core.speculation_stats().guessed_tokens
        num_running = len(driver.core.planner.running)
        driver.step()
        room = 4 - num_running if num_running else 0
        assert driver.core.speculation_stats().guessed_tokens - before <= room
    assert driver.core.speculation_stats().guessed_tokens > 0


def test_guesses_preempt_nobody(tiny_loops: Any) -> None:
    """Both fit to the last token; what is guessed makes no page more."""
    driver = tiny_loops.driver(stops=False, speculation="ngram", kv_tokens=112, page_size=4)
    ids = [driver.submit("decode", None, LOOP + c, max_tokens=44, speculate=True) for c in "ab"]
    driver.run(*ids)
    assert driver.core.planner.num_preemptions == 0


def test_usage_and_stats_agree(tiny_loops: Any) -> None:
    driver = tiny_loops.driver(stops=False, speculation="ngram")
    ids = [driver.submit("decode", None, LOOP * n, max_tokens=30, speculate=True) for n in (1, 2)]
    usages = [result.usage for result in driver.run(*ids)]
    stats = driver.core.speculation_stats()
    assert stats.guessed_tokens == sum(u.guessed_tokens for u in usages) > 0
    assert stats.accepted_tokens == sum(u.accepted_tokens for u in usages) > 0
    assert stats.guessed_steps <= stats.decode_steps <= driver.core.num_steps


def test_a_wish_to_guess_needs_an_engine_that_does(tiny: Any) -> None:
    with pytest.raises(RequestRejected, match="option speculation"):
        tiny.driver().decode(None, "abc", speculate=True)
    with pytest.raises(RequestRejected, match="speculate must be true or false"):
        tiny.driver().decode(None, "abc", speculate=1)
