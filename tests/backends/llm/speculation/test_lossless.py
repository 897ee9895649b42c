"""Guesses change no token: what an engine writes with them is what it writes without."""

from typing import Any

import pytest
import torch

from backends.base import Result
from backends.llm.model.native.native_model import why_not

COPY = "the owl sat in the old oak and said nothing at all. " * 2
RANDOM = "kq7#vZ p0x!mW 3fj~Lb @c9 uT/e"
PROMPTS = (COPY, RANDOM, COPY[:70], "abcabcabcabc", RANDOM * 3)
KINDS = ("torch fp32", "native fp32", "native bf16")


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, load_tiny: Any) -> Any:
    """Loops in its answers sooner or later, as random models do."""
    kernels, dtype = request.param.split()
    precision = torch.float32 if dtype == "fp32" else torch.bfloat16
    found = load_tiny(
        head_dim=16, num_attention_heads=2, num_key_value_heads=1, initializer_range=0.15
    )
    if kernels == "native" and (obstacle := why_not(found.found.config, 16)):
        pytest.skip(obstacle)
    return found.moved(kernels=kernels, dtype=precision)


def answers(driver: Any, prompts: Any = PROMPTS, **attrs: Any) -> list[Result]:
    attrs = {"max_tokens": 60, **attrs}
    results: list[Result] = driver.run(
        *(driver.submit("decode", None, prompt, **attrs) for prompt in prompts)
    )
    return results


def ids_of(results: list[Result]) -> list[list[int]]:
    return [result.outputs[1].ids for result in results]


def assert_same(model: Any, prompts: Any = PROMPTS, **attrs: Any) -> list[Result]:
    """All outcomes but what was guessed; the guessed ones are returned."""
    stops = attrs.pop("stops", False)
    plain = answers(model.driver(stops=stops), prompts, **attrs)
    driver = model.driver(stops=stops, speculation="ngram")
    guessed = answers(driver, prompts, speculate=True, **attrs)
    assert ids_of(guessed) == ids_of(plain)
    assert [r.outputs[0] for r in guessed] == [r.outputs[0] for r in plain]
    assert [r.finish_reason for r in guessed] == [r.finish_reason for r in plain]
    assert [r.usage.decode_tokens for r in guessed] == [r.usage.decode_tokens for r in plain]
    return guessed


def test_greedy_texts_are_the_same_in_a_batch(model: Any) -> None:
    guessed = assert_same(model)
    assert sum(r.usage.accepted_tokens for r in guessed) > 20
    assert sum(r.usage.guessed_tokens for r in guessed) > sum(
        r.usage.accepted_tokens for r in guessed
    )


def test_greedy_texts_are_the_same_alone(model: Any) -> None:
    for prompt in PROMPTS:
        assert_same(model, [prompt])


@pytest.mark.parametrize(
    "attrs",
    [{"temperature": 0.3}, {"temperature": 0.2, "top_p": 0.9, "top_k": 20, "min_p": 0.01}],
    ids=["plain", "truncated"],
)
def test_a_seed_gives_the_same_text(model: Any, attrs: dict[str, Any]) -> None:
    guessed = assert_same(model, seed=7, **attrs)
    assert sum(r.usage.accepted_tokens for r in guessed) > 0


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 4, 5, 6, 7])
def test_max_tokens_ends_between_guesses(model: Any, max_tokens: int) -> None:
    guessed = assert_same(model, [COPY, "abcabcabcabc"], max_tokens=max_tokens)
    assert all(r.usage.decode_tokens == max_tokens for r in guessed)


def test_a_stop_string_ends_between_guesses(model: Any) -> None:
    text = answers(model.driver(stops=False), [COPY])[0].outputs[0]
    stops = [text[at : at + 3] for at in range(10, len(text) - 3, 5)]
    driver = model.driver(stops=False, speculation="ngram")
    for stop in stops:
        (result,) = answers(driver, [COPY], stop=stop, speculate=True)
        assert result.outputs[0] == text[: text.index(stop)]
        assert result.usage.decode_tokens <= 60


def test_what_follows_a_stopped_text_is_the_same(model: Any) -> None:
    text = answers(model.driver(stops=False), [COPY])[0].outputs[0]
    plain, guessed = model.driver(stops=False), model.driver(stops=False, speculation="ngram")
    for stop in (text[20:23], text[41:43]):
        written = []
        for driver, speculate in ((plain, None), (guessed, True)):
            (first,) = answers(driver, [COPY], stop=stop, speculate=speculate)
            more = driver.decode(first.outputs[1], " and", max_tokens=20, speculate=speculate)
            written.append(more.outputs[1].ids)
        assert written[0] == written[1]


def test_an_end_of_turn_ends_between_guesses(model: Any) -> None:
    driver = model.driver(stops=False)
    seen = ids_of(answers(driver, [COPY]))[0][len(COPY) :]
    ends = {seen[20], seen[41], seen[55]}
    for end in ends:
        guessed = assert_same(model, [COPY], stop_token_ids=[end])
        assert guessed[0].finish_reason == "stop"


def test_logprobs_are_the_same(model: Any) -> None:
    plain = answers(model.driver(stops=False), logprobs=2)
    guessed = answers(model.driver(stops=False, speculation="ngram"), logprobs=2, speculate=True)
    for one, other in zip(plain, guessed, strict=True):
        ours, theirs = one.samples[0].logprobs, other.samples[0].logprobs
        assert [entry.id for entry in ours] == [entry.id for entry in theirs]
        assert [entry.logprob for entry in theirs] == pytest.approx(
            [entry.logprob for entry in ours], abs=1e-4
        )


def test_samples_and_biases_are_the_same(model: Any) -> None:
    attrs = {"temperature": 0.5, "seed": 3, "n": 3, "logit_bias": {97: 1.0}, "min_tokens": 30}
    plain = answers(model.driver(), [COPY], **attrs)
    guessed = answers(model.driver(speculation="ngram"), [COPY], speculate=True, **attrs)
    assert plain[0].outputs[0] == guessed[0].outputs[0]
    assert guessed[0].usage.guessed_tokens > 0


def test_texts_are_the_same_under_preemption(model: Any) -> None:
    plain = answers(model.driver(stops=False))
    driver = model.driver(stops=False, speculation="ngram", kv_tokens=224, watermark=0.0)
    guessed = answers(driver, speculate=True)
    assert ids_of(guessed) == ids_of(plain)
    assert driver.core.planner.num_preemptions > 0
    assert sum(r.usage.accepted_tokens for r in guessed) > 0


def test_streams_are_the_same(model: Any) -> None:
    driver = model.driver(stops=False, speculation="ngram")
    pieces: list[str] = []
    request = driver.submit("decode", None, COPY, emit=pieces.append, max_tokens=40, speculate=True)
    (result,) = driver.run(request)
    assert "".join(pieces) == result.outputs[0]


def test_grammars_and_penalties_go_without_guesses(model: Any) -> None:
    for attrs in ({"regex": "(abc)+"}, {"repetition_penalty": 1.2}, {"presence_penalty": 0.5}):
        guessed = assert_same(model, ["abcabcabcabc"], max_tokens=20, **attrs)
        assert guessed[0].usage.guessed_tokens == 0


def test_speculate_false_guesses_nothing(model: Any) -> None:
    driver = model.driver(stops=False, speculation="ngram")
    guessed = answers(driver, speculate=False)
    assert sum(r.usage.guessed_tokens for r in guessed) == 0
