"""Sampling: distributions, truncation, seeds."""

from collections import Counter
from typing import Any

import pytest
import torch

from backends.llm.requests.sampling import Sampling
from backends.llm.sample.logits_processors import logits_processor_of
from backends.llm.sample.random_numbers import stream_of
from backends.llm.sample.sampler import Row, sample
from backends.llm.sequence.generation import Generation
from backends.llm.text.detokenizer import detokenizer_of
from backends.llm.text.stop import StopScanner

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, 1.5])


def row(tiny: Any, prompt: tuple[int, ...] = (), **attrs: Any) -> Generation:
    sampling = Sampling(**attrs)
    return Generation(
        sampling,
        max_new=10,
        stream=stream_of(sampling.seed),
        detokenizer=detokenizer_of(tiny.tokenizer),
        stops=StopScanner(()),
        logits_processor=logits_processor_of(sampling, prompt, end_ids=(0,)),
    )


def pick(generation: Generation, place: int = 0, logits: torch.Tensor = LOGITS) -> int:
    (found,) = sample(logits[None].clone(), [Row(generation, place)], lambda _: b"")
    return found.token


def frequencies(generation: Generation, num_draws: int = 4000) -> list[float]:
    rows = [Row(generation, place) for place in range(num_draws)]
    counts = Counter(p.token for p in sample(LOGITS.repeat(num_draws, 1), rows, lambda _: b""))
    return [counts[i] / num_draws for i in range(len(LOGITS))]


def test_greedy_takes_the_largest_logit(tiny: Any) -> None:
    assert pick(row(tiny)) == 0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_drawn_tokens_follow_the_softmax(tiny: Any, temperature: float) -> None:
    found = frequencies(row(tiny, temperature=temperature, seed=1))
    expected = (LOGITS / temperature).softmax(-1)
    assert found == pytest.approx(expected.tolist(), abs=0.03)


def test_top_k_keeps_the_likeliest(tiny: Any) -> None:
    found = frequencies(row(tiny, temperature=1.0, top_k=2, seed=1))
    expected = LOGITS[[0, 4]].softmax(-1).tolist()
    assert [found[0], found[4]] == pytest.approx(expected, abs=0.03)
    assert found[1] == found[2] == found[3] == 0


def test_top_p_keeps_the_smallest_set_that_reaches_it(tiny: Any) -> None:
    probs = LOGITS.softmax(-1)  # .46 .17 .06 .02 .28
    found = frequencies(row(tiny, temperature=1.0, top_p=float(probs[0] + probs[4]) - 0.01, seed=1))
    assert {i for i, share in enumerate(found) if share} == {0, 4}
    only = frequencies(row(tiny, temperature=1.0, top_p=0.1, seed=1), 50)
    assert only[0] == 1


def test_min_p_keeps_what_is_not_far_behind_the_likeliest(tiny: Any) -> None:
    shares = (LOGITS - LOGITS.max()).exp()  # 1 .37 .14 .05 .61
    found = frequencies(row(tiny, temperature=1.0, min_p=float(shares[4]) - 0.01, seed=1))
    assert found[0] == pytest.approx(float(1 / (1 + shares[4])), abs=0.03)
    assert {i for i, share in enumerate(found) if share} == {0, 4}


def test_presence_and_frequency_penalties_go_by_the_output(tiny: Any) -> None:
    generation = row(tiny, prompt=(0, 0, 0), presence_penalty=0.6)
    assert pick(generation) == 0  # the prompt does not count
    generation.logits_processor.add(0)
    assert pick(generation) == 4  # 2.0 - 0.6 < 1.5
    frequent = row(tiny, frequency_penalty=0.3)
    frequent.logits_processor.add(0)
    assert pick(frequent) == 0
    frequent.logits_processor.add(0)
    assert pick(frequent) == 4


def test_a_repetition_penalty_goes_by_the_prompt_too_and_pushes_negative_logits_down(
    tiny: Any,
) -> None:
    assert pick(row(tiny, prompt=(0,), repetition_penalty=2.0)) == 4
    negative = LOGITS - 3  # -1 -2 -3 -4 -1.5
    assert pick(row(tiny, prompt=(0,), repetition_penalty=2.0), logits=negative) == 4


def test_a_bias_is_added_and_an_end_comes_not_before_min_tokens(tiny: Any) -> None:
    assert pick(row(tiny, logit_bias={3: 4.0})) == 3
    patient = row(tiny, min_tokens=2)  # the end is token 0
    assert [pick(patient, place) for place in range(3)] == [4, 4, 0]


def test_adjusted_rows_leave_their_neighbours_alone(tiny: Any) -> None:
    rows = [Row(row(tiny), 0), Row(row(tiny, logit_bias={2: 9.0}), 0), Row(row(tiny), 0)]
    assert [p.token for p in sample(LOGITS.repeat(3, 1), rows, lambda _: b"")] == [0, 2, 0]


def test_truncation_that_cuts_nothing_draws_the_plain_distribution(tiny: Any) -> None:
    found = frequencies(row(tiny, temperature=1.0, top_k=5, seed=1))
    assert found == pytest.approx(LOGITS.softmax(-1).tolist(), abs=0.03)


def test_masked_tokens_are_never_drawn(tiny: Any) -> None:
    logits = LOGITS.clone()
    logits[[0, 4]] = float("-inf")
    generation = row(tiny, temperature=5.0, seed=3)
    assert {pick(generation, place, logits) for place in range(300)} == {1, 2, 3}


def test_a_tiny_temperature_is_greedy_and_does_not_overflow(tiny: Any) -> None:
    assert frequencies(row(tiny, temperature=1e-6, seed=1), 20)[0] == 1


def test_a_seed_repeats_and_does_not_depend_on_batch_mates(tiny: Any) -> None:
    driver = tiny.driver(stops=False)
    context = driver.prefill(None, "abc")
    attrs = {"temperature": 1.0, "seed": 7, "max_tokens": 30}
    alone = driver.decode(context, **attrs).outputs[0]
    mates = [
        driver.submit("decode", context, temperature=1.3, seed=seed, max_tokens=20, top_p=0.9)
        for seed in range(5)
    ]
    among = driver.run(driver.submit("decode", context, **attrs), *mates)
    assert among[0].outputs[0] == alone
    assert len({r.outputs[0] for r in among}) > 3


def test_without_a_seed_two_draws_differ(tiny: Any) -> None:
    driver = tiny.driver(stops=False)
    context = driver.prefill(None, "abc")
    texts = {driver.decode(context, temperature=1.5, max_tokens=20).outputs[0] for _ in range(3)}
    assert len(texts) > 1
