"""What stands before chunks while they are encoded."""

from collections.abc import Sequence
from typing import Any

import pytest

from backends.base import Chunk, Result
from backends.llm.fusion.stand_in import MOST_TOKENS, StandIns

START = (7,)
PREFIX, QUESTION = "Read this. ", " So what?"
FIRST = ("The sea is deep and cold here. ", "A bell rang twice; nobody came. ")
LATER = ("Odd and old was the mill by the sea. ", "Nobody knows the way. ")


def encode(parts: Sequence[Any]) -> list[int]:
    """A token a character, behind the one that begins every prompt."""
    return [*START, *(ord(x) for part in parts for x in str(part))]


def test_our_text_begins_no_prompt_and_has_any_length() -> None:
    found = StandIns().text(encode, START, 3 * MOST_TOKENS * 8)
    assert START[0] not in found
    assert len(found) == 3 * MOST_TOKENS * 8
    assert found[:11] == tuple(map(ord, "The harbour"))


def test_a_sample_is_of_the_chunks_that_came_first() -> None:
    stand_ins = StandIns()
    sample = stand_ins.sample("p", ["abc", "def", "ghi"], encode, START, 5)
    assert sample.ids == tuple(map(ord, "abcde"))
    assert sample.texts == {"abc", "def"}
    assert stand_ins.sample("p", ["xyz", "abc"], encode, START, 5) == sample
    assert stand_ins.sample("p", ["xyz"], encode, START, 2).ids == tuple(map(ord, "xy"))
    assert stand_ins.sample("q", ["xyz"], encode, START, 5).texts == {"xyz"}
    stand_ins.clear()
    assert stand_ins.sample("p", ["xyz"], encode, START, 3).ids == tuple(map(ord, "xyz"))


def test_what_is_missing_of_a_sample_is_our_text_before_it() -> None:
    sample = StandIns().sample("p", ["ab"], encode, START, 5)
    assert sample.ids == tuple(map(ord, "Theab"))


def test_only_the_beginning_of_a_long_chunk_is_tokenised() -> None:
    lengths = []

    def counted(parts: Sequence[Any]) -> list[int]:
        lengths.append(len(parts[0]))
        return encode(parts)

    StandIns().sample("p", ["x" * 10**6], counted, (), 5)
    assert lengths[0] == 80


def result(outcome: Any) -> Result:
    assert isinstance(outcome, Result), outcome
    return outcome


def test_chunks_behind_a_sample_are_found_again_and_forgotten_at_a_flush(
    some: Any, fused: Any
) -> None:
    both = fused(some.driver(stops=False))
    for chunks, num_encoded in ((FIRST, 2), (LATER, 2), (LATER[::-1], 0), (FIRST[::-1], 0)):
        outcome = result(both.prefill("reuse+corpus(40)", PREFIX, chunks, QUESTION))
        assert outcome.fusion is not None
        assert outcome.fusion.num_encoded == num_encoded
    both._fuser.forget()
    outcome = result(both.prefill("reuse+corpus(40)", PREFIX, LATER, QUESTION))
    assert outcome.fusion is not None
    assert outcome.fusion.num_encoded > 0, "they are the sample now"


@pytest.mark.parametrize(("salt", "num_encoded"), [("ann", 0), ("bob", 2)])
def test_a_sample_is_of_one_tenant(some: Any, fused: Any, salt: str, num_encoded: int) -> None:
    both = fused(some.driver(stops=False))
    for chunks in (FIRST, LATER):
        both.prefill("reuse+corpus(40)", PREFIX, chunks, QUESTION, cache_salt="ann")
    keys = set(both._fuser._stand_ins._samples)
    outcome = result(both.prefill("reuse+corpus(40)", PREFIX, LATER, QUESTION, cache_salt=salt))
    assert outcome.fusion is not None
    assert outcome.fusion.num_encoded == num_encoded
    assert (set(both._fuser._stand_ins._samples) == keys) == (salt == "ann")


def test_chunks_computed_again_behind_a_sample_are_exact(some: Any, fused: Any) -> None:
    driver = some.driver(stops=False)
    plain = driver.prefill(None, PREFIX, *map(Chunk, LATER), QUESTION)
    both = fused(driver)
    both.prefill("reuse+corpus(40)", PREFIX, FIRST, QUESTION)
    outcome = result(both.prefill("lego(99)+corpus(40)", PREFIX, LATER, QUESTION))
    assert outcome.usage.fused_tokens == 0
    assert outcome.outputs[0].ids == plain.ids
