"""Log-probabilities of a prompt's own tokens, and prompts whose markup is markup."""

from typing import Any

import pytest

from backends.base import Marked, Tokens, Turn
from backends.errors import RequestRejected

TEXT = "The bell rang twice and nobody came to the door."


def told(driver: Any, *inputs: Any, **attrs: Any) -> Any:
    return driver.call("prefill", *inputs, logprobs=2, **attrs).prompt_logprobs


def test_they_are_those_that_decoding_the_same_tokens_tells(load_tiny: Any) -> None:
    driver = load_tiny().driver(kv_tokens=1024)
    made = driver.decode(None, TEXT, max_tokens=6, logprobs=2, ignore_eos=True)
    ids = made.outputs[1].ids
    found = told(driver, None, Tokens(tuple(ids)))
    assert [token.id for token in found] == ids[1:]
    for ours, theirs in zip(found[-6:], made.samples[0].logprobs, strict=True):
        assert ours.raw == theirs.raw
        assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-4)
        assert [other.id for other in ours.top] == [other.id for other in theirs.top]


def test_they_are_the_same_in_chunks_cached_and_beside_others(load_tiny: Any) -> None:
    tiny = load_tiny(head_dim=16).moved(kernels="native")
    driver = tiny.driver(kv_tokens=1024)
    alone = told(driver, None, TEXT)
    assert len(alone) > 20
    assert told(driver, None, TEXT) == alone
    assert told(tiny.driver(kv_tokens=1024, token_budget=8), None, TEXT) == alone
    jobs = [driver.submit("prefill", None, text, logprobs=2) for text in (TEXT, TEXT + "!")]
    jobs.append(driver.submit("decode", None, TEXT[:9], max_tokens=9))
    both = driver.run(*jobs)
    assert both[0].prompt_logprobs == alone
    assert both[1].prompt_logprobs[: len(alone)] == alone
    head = driver.prefill(None, TEXT[:20])
    assert told(driver, head, TEXT[20:]) == alone[head.num_tokens - 1 :]
    driver.core.check_integrity()


def test_a_prompt_without_them_tells_none_and_a_wrong_number_is_refused(load_tiny: Any) -> None:
    driver = load_tiny().driver(kv_tokens=1024)
    assert driver.call("prefill", None, TEXT).prompt_logprobs == ()
    assert told(driver, None, Tokens((5,))) == ()
    for wrong in (21, True, "2"):
        with pytest.raises(RequestRejected, match="logprobs must"):
            driver.call("prefill", None, TEXT, logprobs=wrong)


def test_marked_text_gives_the_tokens_of_the_turns_it_writes(load_tiny: Any) -> None:
    driver = load_tiny().driver(kv_tokens=1024)
    turns = driver.prefill(None, Turn("user"), "Hi", Turn("assistant")).ids
    text = driver.core.decode(turns)
    assert driver.prefill(None, Marked(text)).ids == turns
    assert driver.prefill(None, text).ids != turns
