"""SmolLM2 copies a passage in far fewer steps than tokens, and writes the same."""

from typing import Any

import pytest

from backends.base import Turn

pytestmark = pytest.mark.model

PASSAGE = (
    "The harbour master kept a ledger of every ship that came in from the north. In the winter of "
    "1874 he wrote down forty-one names, and beside each of them the cargo and the crew."
)
PROMPT = (Turn("user"), f"Repeat this text word for word:\n\n{PASSAGE}", Turn("assistant"))


def test_a_passage_is_repeated_in_far_fewer_steps_than_tokens(smollm: Any) -> None:
    plain = smollm.driver().decode(None, *PROMPT, max_tokens=48)
    driver = smollm.driver(speculation="ngram")
    guessed = driver.decode(None, *PROMPT, max_tokens=48, speculate=True)
    assert guessed.outputs[1].ids == plain.outputs[1].ids
    steps_per_token = driver.core.num_steps / guessed.usage.decode_tokens
    assert steps_per_token < 0.6, guessed.usage
