"""n samples, log-probabilities, and the ends that a request may choose."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from backends.base import Tokens
from backends.errors import RequestRejected
from backends.llm.requests.sampling import sampling_from
from backends.llm.sample.logits_processors import apply_processors, logits_processor_of


def test_n_samples_are_n_decodes_with_following_seeds(tiny: Any) -> None:
    driver = tiny.driver(stops=False)
    context = driver.prefill(None, "abc")
    attrs = {"temperature": 1.0, "max_tokens": 12}
    result = driver.decode(context, n=3, seed=5, **attrs)
    texts, contexts = result.outputs
    apart = [driver.decode(context, seed=seed, **attrs) for seed in (5, 6, 7)]
    assert texts == [r.outputs[0] for r in apart]
    assert [c.ids for c in contexts] == [r.outputs[1].ids for r in apart]
    assert [s.finish_reason for s in result.samples] == ["length"] * 3
    assert result.usage.decode_tokens == 36


def test_samples_run_side_by_side(tiny: Any) -> None:
    driver = tiny.driver(stops=False)
    context = driver.prefill(None, "abc")
    before = driver.core.num_steps
    driver.decode(context, n=8, temperature=1.0, max_tokens=10)
    assert driver.core.num_steps == before + 10


def test_samples_are_not_streamed_as_one(tiny: Any) -> None:
    driver = tiny.driver()
    context = driver.prefill(None, "abc")
    with pytest.raises(RequestRejected, match="stream n decodes"):
        driver.submit("decode", context, n=2, emit=print)


def test_an_abort_ends_all_samples(tiny: Any) -> None:
    driver = tiny.driver(stops=False)
    context = driver.prefill(None, "abc")
    running = driver.submit("decode", context, n=5, max_tokens=100)
    driver.step()
    assert driver.core.abort(running).id == running
    driver.core.check_integrity()
    assert not driver.core.has_work
    assert not driver.core.planner.running


def test_an_abort_frees_what_finished_samples_hold(tiny: Any) -> None:
    driver = tiny.driver()
    attrs = {"n": 4, "regex": "a{1,60}b", "temperature": 1.0, "seed": 2}
    running = driver.submit("decode", None, "abc", **attrs)
    driver.step()
    group = driver.core.live.groups[running]
    while len(group.live) == 4:
        driver.step()
    assert group.live
    assert driver.core.abort(running).id == running
    driver.core.check_integrity()  # while the group is still held
    driver.core.cache.forget()
    assert driver.core.cache.pool.num_free == driver.core.cache.pool.num_pages


def test_one_failing_sample_ends_its_request_alone(tiny: Any) -> None:
    driver = tiny.driver()
    context = driver.prefill(None, "abc")
    bad = driver.submit("decode", context, n=3, regex="[ab]{50}", seed=1, temperature=1.0)
    good = driver.submit("decode", context, regex="[ab]{50}")
    driver.step()
    driver.core.live.groups[bad].live[1].generation.matcher.native.consume_token(5)
    failed, result = driver.run(bad, good)
    assert "structured output failed" in str(failed)
    assert len(result.outputs[0]) == 50


def oracle(folder: Path, ids: list[int], num_prompt: int) -> torch.Tensor:
    """Log-probabilities [N, V] of the tokens after a prompt."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    return logits[num_prompt - 1 : -1].log_softmax(-1)


@pytest.mark.parametrize("attrs", [{}, {"temperature": 1.3, "seed": 3}, {"regex": "[ab]{12}"}])
def test_log_probabilities_equal_those_of_transformers(
    tiny: Any, tiny_folder: Callable[..., Path], attrs: dict[str, Any]
) -> None:
    driver = tiny.driver(stops=False)
    context = driver.prefill(None, "abc")
    ids = [
        driver.submit("decode", context, max_tokens=12, logprobs=4, **attrs),
        driver.submit("decode", context, max_tokens=12, logprobs=1, **attrs),
        driver.submit("decode", context, max_tokens=12, **attrs),
    ]
    result, few, none = driver.run(*ids)
    (sample,) = result.samples
    tokens = result.outputs[1].ids[3:]
    expected = oracle(tiny_folder(), result.outputs[1].ids, 3)
    assert [entry.id for entry in sample.logprobs] == tokens
    for row, entry in zip(expected, sample.logprobs, strict=True):
        assert entry.logprob == pytest.approx(float(row[entry.id]), abs=1e-4)
        assert [top.id for top in entry.top] == row.topk(4).indices.tolist()
        assert [t.logprob for t in entry.top] == pytest.approx(
            row.topk(4).values.tolist(), abs=1e-4
        )
    text = b"".join(entry.raw for entry in sample.logprobs).decode(errors="replace")
    assert text == result.outputs[0] == few.outputs[0] == none.outputs[0]
    assert [len(entry.top) for entry in few.samples[0].logprobs] == [1] * 12
    assert none.samples[0].logprobs == ()


def test_the_end_of_turn_has_a_log_probability_and_no_text(tiny: Any) -> None:
    driver = tiny.driver()
    context = driver.prefill(None, "abc")
    result = driver.decode(context, logit_bias={258: 1000.0}, logprobs=0)
    (entry,) = result.samples[0].logprobs
    assert (entry.id, entry.raw, entry.top) == (258, b"", ())
    assert math.exp(entry.logprob) < 0.9  # the model's own, before the bias
    assert result.outputs[0] == ""
    assert result.finish_reason == "stop"


def test_ignore_eos_generates_past_the_end(tiny: Any) -> None:
    driver = tiny.driver()
    context = driver.prefill(None, "abc")
    attrs = {"logit_bias": {258: 1000.0}, "max_tokens": 5}
    assert driver.decode(context, **attrs).usage.decode_tokens == 1
    result = driver.decode(context, ignore_eos=True, **attrs)
    assert result.outputs[1].ids[3:] == [258] * 5
    assert result.outputs[0] == ""
    assert result.finish_reason == "length"


def test_min_tokens_keeps_ends_and_stops_away(tiny: Any) -> None:
    driver = tiny.driver()
    context = driver.prefill(None, "abc")
    result = driver.decode(context, logit_bias={258: 1000.0}, min_tokens=4)
    assert len(result.outputs[1].ids) - 3 == 4
    free = tiny.driver(stops=False)
    context = free.prefill(None, "abc")
    text = free.decode(context, max_tokens=20).outputs[0]
    stop = next(c for c in text if c.isascii())
    late = free.decode(context, max_tokens=20, min_tokens=20, stop=[stop])
    assert late.outputs[0] == text


def test_a_stop_token_ends_the_output_and_is_no_part_of_it(tiny: Any) -> None:
    driver = tiny.driver(stops=False)
    context = driver.prefill(None, "abc")
    free = driver.decode(context, max_tokens=20).outputs[1].ids[3:]
    token = free[7]
    result = driver.decode(context, max_tokens=20, stop_token_ids=[token])
    assert result.outputs[1].ids[3:] == free[: free.index(token)]
    assert result.finish_reason == "stop"
    assert result.samples[0].stop == token


def test_a_prompt_may_be_given_as_token_ids(tiny: Any) -> None:
    driver = tiny.driver()
    ids = tuple(tiny.tokenizer.encode_text("abc"))
    assert driver.prefill(None, Tokens(ids[:1]), Tokens(ids[1:])).ids == list(ids)
    assert driver.prefill(None, "a", Tokens((257, 5)), "b").ids == [ids[0], 257, 5, ids[1]]


@pytest.mark.parametrize("wrong", [-1, 259, 1.0, True, "a"])
def test_ids_outside_the_vocabulary_are_rejected(tiny: Any, wrong: Any) -> None:
    driver = tiny.driver()
    with pytest.raises(RequestRejected, match="ids go from 0 to 258"):
        driver.submit("prefill", None, Tokens((1, wrong)))


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({"max_tokens": 0}, "at least 1"),
        ({"max_tokens": "many"}, "must be int"),
        ({"temperature": -1}, "negative"),
        ({"top_p": 0}, "top_p"),
        ({"top_k": 0}, "top_k"),
        ({"stop": ""}, "empty"),
        ({"stop": [1]}, "list of strings"),
        ({"beams": 4}, "no attribute 'beams'"),
        ({"schema": {"type": "strange"}}, "cannot be followed"),
        ({"schema": "{"}, "not a JSON object"),
        ({"logit_bias": {900: 1.0}}, "logit_bias has a token 900; ids go from 0 to 258"),
        ({"logit_bias": {"x": 1.0}}, "token ids to finite numbers"),
        ({"logit_bias": {1: float("nan")}}, "token ids to finite numbers"),
        ({"stop_token_ids": [900]}, "stop_token_ids has a token 900"),
        ({"stop_token_ids": 3}, "a list of token ids"),
        ({"min_p": 1.5}, "min_p"),
        ({"temperature": float("inf")}, "temperature must be finite"),
        ({"temperature": 1e39}, r"temperature must lie in 0 to 1e\+30"),
        ({"temperature": 10**400}, r"temperature must lie in 0 to 1e\+30"),
        ({"logit_bias": {5: 1e39}}, r"logit_bias of token 5 must lie in -1e\+30 to 1e\+30"),
        ({"logit_bias": {5: 10**400}}, "token ids to finite numbers"),
        ({"presence_penalty": -1e39}, r"presence_penalty must lie in -1e\+30 to 1e\+30"),
        ({"frequency_penalty": 1e39}, r"frequency_penalty must lie in -1e\+30 to 1e\+30"),
        ({"repetition_penalty": 1e-50}, r"repetition_penalty must lie in 1e-30 to 1e\+30"),
        ({"repetition_penalty": 1e39}, r"repetition_penalty must lie in 1e-30 to 1e\+30"),
        ({"repetition_penalty": 0}, "above 0"),
        ({"frequency_penalty": "high"}, "must be int or float"),
        ({"logprobs": 21}, "logprobs must lie in 0 to 20"),
        ({"n": 0}, "n must lie in 1 to 128"),
        ({"ignore_eos": 1}, "true or false"),
        ({"choices": []}, "choices must not be empty"),
        ({"choices": "ab"}, "a list of strings"),
        ({"regex": 3}, "regex must be a string"),
        ({"regex": "a", "choices": ["a"]}, "one of schema, regex and choices"),
        ({"regex": "a", "min_tokens": 3}, "min_tokens does not go with"),
    ],
)
def test_wrong_attributes_are_rejected(tiny: Any, attrs: dict[str, Any], message: str) -> None:
    driver = tiny.driver()
    context = driver.prefill(None, "abc")
    with pytest.raises(RequestRejected, match=message):
        driver.submit("decode", context, **attrs)
    assert not driver.core.has_work


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_numbers_allowed_stay_finite(sign: int) -> None:
    sampling = sampling_from(
        {
            "logit_bias": {0: sign * 1e30, 1: sign * -1e30},
            "frequency_penalty": sign * 1e30,
            "presence_penalty": sign * 1e30,
            "repetition_penalty": 1e30 if sign > 0 else 1e-30,
        }
    )
    processor = logits_processor_of(sampling, [0, 1, 2], ())
    assert processor is not None
    for _ in range(100_000):
        processor.add(0)
    logits = torch.tensor([[100.0, -100.0, 100.0, -100.0]])
    apply_processors(logits, [(0, 100_000, processor)])
    assert torch.isfinite(logits).all()


def test_penalties_hold_back_what_was_written(tiny: Any) -> None:
    driver = tiny.driver(stops=False)
    context = driver.prefill(None, "abc")
    free = driver.decode(context, max_tokens=60).outputs[1].ids[3:]
    assert len(set(free)) < 60
    strict = driver.decode(context, max_tokens=60, presence_penalty=1e6).outputs[1].ids[3:]
    assert len(set(strict)) == 60
    repeated = driver.decode(context, max_tokens=60, repetition_penalty=1e6).outputs[1].ids
    assert len(set(repeated)) == 63
