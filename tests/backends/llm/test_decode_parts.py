"""A decode that brings its prompt along: the same answer as after a prefill, in fewer steps."""

from typing import Any

import pytest

from backends.base import Tokens, Turn
from backends.errors import RequestTooLong

PARTS = (Turn("user"), "one two three " * 5, Turn("assistant"))


def test_a_prompt_may_be_decoded_without_a_prefill_of_its_own(tiny: Any) -> None:
    whole, apart = tiny.driver(), tiny.driver()
    context = apart.prefill(None, *PARTS)
    expected = apart.decode(context, max_tokens=9)
    result = whole.decode(None, *PARTS, max_tokens=9)

    assert result.outputs[0] == expected.outputs[0]
    assert result.outputs[1].ids == expected.outputs[1].ids
    assert result.outputs[1].turn == "assistant"
    assert result.usage.prefill_tokens == context.num_tokens
    assert whole.core.num_steps == apart.core.num_steps - 1


def test_the_prompt_may_follow_a_context_and_be_token_ids(tiny: Any) -> None:
    driver = tiny.driver()
    system = driver.prefill(None, Turn("system"), "Be brief.")
    expected = driver.decode(driver.prefill(system, *PARTS), max_tokens=9)
    ids = tuple(driver.core.encode((Turn("system"), "Be brief.", *PARTS)))

    assert driver.decode(system, *PARTS, max_tokens=9).outputs[0] == expected.outputs[0]
    assert driver.decode(None, Tokens(ids), max_tokens=9).outputs[0] == expected.outputs[0]


def test_what_is_in_the_cache_is_not_computed(tiny: Any) -> None:
    driver = tiny.driver(page_size=8)
    first, second = (driver.decode(None, *PARTS, max_tokens=3).usage for _ in range(2))

    assert first.cached_tokens == 0
    assert second.cached_tokens > 0
    assert second.prefill_tokens + second.cached_tokens == first.prefill_tokens


def test_several_samples_share_the_prompt_they_bring(tiny: Any) -> None:
    driver = tiny.driver(page_size=8)
    context = driver.prefill(None, *PARTS)
    attrs: Any = {"n": 3, "temperature": 1.0, "seed": 4, "max_tokens": 6}
    expected = driver.decode(context, **attrs).outputs[0]
    result = tiny.driver(page_size=8).decode(None, *PARTS, **attrs)

    assert result.outputs[0] == expected
    assert result.usage.cached_tokens > 0


def test_a_prompt_that_is_too_long_is_refused(tiny: Any) -> None:
    with pytest.raises(RequestTooLong):
        tiny.driver(context_len=16).submit("decode", None, "x" * 16)
