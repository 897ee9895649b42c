"""Chunks from earlier prompts: what is recorded of them, and how much of them is computed again."""

from typing import Any

import numpy as np
import pytest
import torch

from backends.base import Result
from backends.llm.fusion.plans import Craft, Layout
from backends.llm.fusion.record import Record, Records

PREFIX, QUESTION = "Read this. ", " So what?"
CHUNKS = ["The sea is deep and cold here. ", "A bell rang twice; nobody came. ", "Odd and old. "]


def record(
    before: tuple[str, ...] = ("a", "b"), contacts: Any = ((2.0, 1.0), (4.0, 1.0))
) -> Record:
    own = np.full(len(contacts), 4 / len(contacts))
    seen = np.column_stack([np.array(contacts), own]).astype(np.float32)
    return Record.of(before, (2,) * len(before), seen)


def test_the_impact_of_other_chunks_is_that_of_the_paper() -> None:
    a = (6 / (2 * 2)) + (2 / (2 * 2))
    assert record().impact == pytest.approx(1 / (1 + np.exp(-a / (4 / 2**2))))
    assert record((), np.zeros((2, 0))).impact == 0.5


@pytest.mark.parametrize(
    ("before", "overlap"),
    [
        (["a", "b"], 1.0),
        (["b", "a"], 0.0),  # both there, all pairs discordant
        (["a"], 6 / 8),
        (["x", "b"], 2 / 8),
        (["a", "x", "b"], 1.0),
        ([], 0.0),
    ],
)
def test_the_overlap_is_the_share_of_attention_in_the_same_order(
    before: list[str], overlap: float
) -> None:
    assert record().overlap(before) == pytest.approx(overlap)


def test_a_third_of_discordant_pairs_costs_a_third() -> None:
    found = record(("a", "b", "c"), np.ones((2, 3)))
    assert found.overlap(["a", "c", "b"]) == pytest.approx(2 / 3)


def test_what_never_saw_another_chunk_has_no_overlap_but_with_itself() -> None:
    first = record((), np.zeros((2, 0)))
    assert (first.overlap([]), first.overlap(["a"])) == (1.0, 0.0)


def test_tokens_that_attended_most_to_others_are_computed_first() -> None:
    own = record(contacts=((2.0, 1.0), (4.0, 1.0), (1.0, 0.0)))
    layout = Layout((3,), (False,), 2, ("t",), (own,))
    assert Craft(0.1).choose(layout, ()).tolist() == [False, True, False]
    assert Craft(1.0).choose(layout, ()).sum() == np.ceil(3 * own.impact)
    assert Craft(0.0).choose(layout, ()).sum() == 0


def test_the_record_of_least_overhead_is_taken_and_four_are_kept() -> None:
    records, plan = Records(), Craft(0.5)
    for before in ("a", "b", "c", "d", "e"):
        records.add("p", "t", record((before,), np.ones((2, 1))))
    best = records.best("p", "t", lambda found: plan.overhead(found, ["c"]))
    assert best is not None
    assert best.before == ("c",)
    gone = records.best("p", "t", lambda found: plan.overhead(found, ["a"]))
    assert gone is not None
    assert gone.before == ("e",)  # none fits: the newest
    assert records.best("q", "t", lambda found: 0.0) is None


def test_a_prompt_of_new_chunks_is_exact_and_the_next_takes_its_kv(some: Any, fused: Any) -> None:
    both = fused(some.driver())
    plain = both.run(both.plain("prefill", None, PREFIX, *CHUNKS, QUESTION))[0]
    wanted = plain.outputs[0].ids
    first = both.prefill("craft(0.5)", PREFIX, CHUNKS, QUESTION)
    assert isinstance(first, Result)
    assert first.outputs[0].ids == wanted
    assert first.usage.fused_tokens == 0
    second = both.prefill("craft(0.5)", PREFIX, CHUNKS[::-1], QUESTION)
    assert isinstance(second, Result)
    assert second.fusion is not None
    assert second.usage.fused_tokens > 0
    assert second.fusion.num_encoded == 0


def test_how_much_is_computed_again_depends_on_what_stands_before(some: Any, fused: Any) -> None:
    both = fused(some.driver())
    both.prefill("craft(1.0)", PREFIX, CHUNKS, QUESTION)
    rows = {}
    for name, chunks in (("all", CHUNKS[::-1]), ("partly", [CHUNKS[0], CHUNKS[2], CHUNKS[1]])):
        outcome = both.prefill("craft(1.0)", PREFIX, chunks, QUESTION)
        assert isinstance(outcome, Result)
        assert outcome.fusion is not None
        rows[name] = outcome.fusion.rows[0]
    assert rows["partly"] < rows["all"]


def test_contacts_are_the_attention_of_a_chunks_tokens(some: Any, fused: Any) -> None:
    both = fused(some.driver())
    both.prefill("craft(0.5)", PREFIX, CHUNKS, QUESTION)
    ((_, text), (last,)) = both._fuser._recorded._records._of.popitem()
    assert text == CHUNKS[-1]
    config = both.driver.core.model.config
    whole = config.num_layers * config.num_heads
    assert (last.to_each.shape, last.by_token.shape) == ((2,), (len(CHUNKS[-1]),))
    assert (last.to_each > 0).all()
    weights = last.by_token
    assert weights.sum() == pytest.approx(last.to_each.sum(), rel=1e-5)
    assert (weights < whole).all()  # what is left went to the prefix and to the chunk itself
    assert last.own + weights.sum() < whole * len(weights)
    assert last.own > 0


def test_all_kernels_record_the_same(some: Any, load_tiny: Any, fused: Any) -> None:
    plain = load_tiny(head_dim=16).moved(kernels="torch", dtype=torch.float32)
    found = []
    for model in (some, plain):
        both = fused(model.driver())
        both.prefill("craft(0.5)", PREFIX, CHUNKS, QUESTION)
        found.append(both._fuser._recorded._records._of.popitem()[1][0])
    error = 0.05 if "bfloat16" in str(some.model.dtype) else 1e-4
    ours, right = found
    for a, b in ((ours.by_token, right.by_token), (ours.to_each, right.to_each)):
        np.testing.assert_allclose(a, b, rtol=error, atol=error)
    assert ours.own == pytest.approx(right.own, rel=error)


def test_a_flush_forgets_what_was_recorded(some: Any, fused: Any) -> None:
    both = fused(some.driver())
    both.prefill("craft(0.5)", PREFIX, CHUNKS, QUESTION)
    both._fuser.forget()
    again = both.prefill("craft(0.5)", PREFIX, CHUNKS[::-1], QUESTION)
    assert again.usage.fused_tokens == 0


def test_one_chunk_that_is_new_makes_a_prompt_exact(some: Any, fused: Any) -> None:
    both = fused(some.driver())
    both.prefill("craft(0.5)", PREFIX, CHUNKS[:2], QUESTION)
    outcome = both.prefill("craft(0.5)", PREFIX, CHUNKS, QUESTION)
    assert outcome.usage.fused_tokens == 0
    again = both.prefill("craft(0.5)", PREFIX, CHUNKS[:0:-1], QUESTION)
    assert again.usage.fused_tokens > 0


def test_the_same_chunks_in_the_same_order_lose_nothing(some: Any, fused: Any) -> None:
    both = fused(some.driver())
    for question in (QUESTION, " And then?"):
        outcome = both.prefill("craft(0.5)", PREFIX, CHUNKS, question)
        assert outcome.usage.fused_tokens == 0
        assert outcome.usage.cached_tokens > 0
    assert outcome.fusion.rows[0] < 30


def test_what_was_recorded_is_of_a_tenant_also_where_a_context_names_it(
    some: Any, fused: Any
) -> None:
    driver = some.driver(stops=False)
    both = fused(driver)

    def asked(salt: str, chunks: list[str]) -> int:
        context = driver.call("prefill", None, PREFIX, cache_salt=salt).outputs[0]
        outcome = both.prefill("craft(0.5)", context, chunks, QUESTION)
        assert isinstance(outcome, Result), outcome
        return outcome.usage.fused_tokens

    asked("ann", CHUNKS)
    assert asked("bob", CHUNKS[::-1]) == 0
    assert asked("ann", CHUNKS[::-1]) > 0
