"""Choices by log-probability: scores equal those of transformers, choices share the context."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from backends.base import Turn
from backends.errors import RequestRejected, RequestTooLong

CHOICES = ["yes", "no", "perhaps not", "yes, of course", "é"]
PROMPT = "Is an owl a bird? Answer: "


def oracle(folder: Path, prompt: list[int], choice: list[int]) -> list[float]:
    """Log-probabilities of the choice's tokens."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        logits = model(torch.tensor([prompt + choice])).logits[0]  # [N, V]
    rows = logits[len(prompt) - 1 : -1].log_softmax(-1)
    return [float(rows[i, token]) for i, token in enumerate(choice)]


@pytest.mark.parametrize("score", ["sum", "mean"])
@pytest.mark.parametrize("options", [{}, {"token_budget": 7}, {"page_size": 1}], ids=str)
def test_scores_equal_those_of_transformers(
    tiny: Any, tiny_folder: Callable[..., Path], score: str, options: dict[str, Any]
) -> None:
    driver = tiny.driver(**options)
    context = driver.prefill(None, PROMPT)
    chosen, scores, after = driver.call("select", context, CHOICES, score=score).outputs
    expected = []
    for choice in CHOICES:
        ids = tiny.tokenizer.encode_text(choice)
        logprobs = oracle(tiny_folder(), context.ids, ids)
        expected.append(sum(logprobs) / (len(ids) if score == "mean" else 1))
    assert scores == pytest.approx(expected, abs=1e-4)
    assert chosen == CHOICES[expected.index(max(expected))]
    assert after.ids == driver.prefill(context, chosen).ids


def test_choices_share_the_context_and_run_in_one_step(tiny: Any) -> None:
    driver = tiny.driver()
    context = driver.prefill(None, PROMPT)
    before = driver.core.num_steps
    result = driver.call("select", context, CHOICES)
    assert driver.core.num_steps == before + 1
    num_tokens = sum(len(tiny.tokenizer.encode_text(choice)) for choice in CHOICES)
    assert result.usage.prefill_tokens == num_tokens  # a choice's last token needs no logits
    assert result.usage.decode_tokens == 0


def test_choices_that_were_seen_before_are_scored_all_the_same(tiny: Any) -> None:
    driver = tiny.driver(page_size=1)
    context = driver.prefill(None, PROMPT)
    first = driver.call("select", context, CHOICES).outputs
    driver.prefill(context, CHOICES[0])  # its KV is in the tree now
    again = driver.call("select", context, CHOICES).outputs
    assert again[1] == pytest.approx(first[1], abs=1e-5)


def test_generation_goes_on_from_the_choice(tiny: Any) -> None:
    driver = tiny.driver(stops=False)
    context = driver.prefill(None, Turn("user"), PROMPT, Turn("assistant"))
    chosen, _, after = driver.call("select", context, CHOICES).outputs
    found = driver.decode(after, max_tokens=10).outputs[0]
    fresh = tiny.driver(stops=False)
    parts = (Turn("user"), PROMPT, Turn("assistant"), chosen)
    assert found == fresh.decode(fresh.prefill(None, *parts), max_tokens=10).outputs[0]
    assert after.turn == "assistant"


def test_a_select_beside_decodes_changes_neither(tiny: Any) -> None:
    driver = tiny.driver(stops=False, token_budget=16)
    context = driver.prefill(None, PROMPT)
    text = driver.decode(context, max_tokens=12).outputs[0]
    scores = driver.call("select", context, CHOICES).outputs[1]
    ids = [
        driver.submit("decode", context, max_tokens=12),
        driver.submit("select", context, CHOICES),
        driver.submit("decode", context, max_tokens=12),
    ]
    first, select, last = driver.run(*ids)
    assert first.outputs[0] == last.outputs[0] == text
    assert select.outputs[1] == pytest.approx(scores, abs=1e-5)


def test_a_full_pool_preempts_choices_and_changes_no_score(tiny: Any) -> None:
    long = ["a" * 30, "b" * 40, "c" * 50, "d" * 45]
    roomy = tiny.driver()
    expected = roomy.call("select", roomy.prefill(None, PROMPT), long).outputs[1]
    small = tiny.driver(kv_tokens=96, page_size=8, token_budget=4, stops=False)
    context = small.prefill(None, PROMPT)
    decode = small.submit("decode", context, max_tokens=60)  # older: it takes their pages
    (result, _) = small.run(small.submit("select", context, long), decode)
    assert small.core.planner.num_preemptions > 0
    assert result.outputs[1] == pytest.approx(expected, abs=1e-4)


def test_losers_give_their_pages_back(tiny: Any) -> None:
    driver = tiny.driver()
    context = driver.prefill(None, PROMPT)
    result = driver.call("select", context, CHOICES)
    result.outputs[2].release()
    context.release()
    driver.core.check_integrity()
    driver.core.cache.forget()
    assert driver.core.cache.pool.num_free == driver.core.cache.pool.num_pages


def test_aborting_a_select_frees_all_its_choices(tiny: Any) -> None:
    driver = tiny.driver(token_budget=4)
    context = driver.prefill(None, PROMPT)
    select = driver.submit("select", context, CHOICES)
    driver.step()
    assert driver.core.abort(select).id == select
    assert not driver.core.has_work
    driver.core.check_integrity()


@pytest.mark.parametrize(
    ("inputs", "attrs", "message"),
    [
        ((), {}, "select takes a context and a list"),
        (([],), {}, "a list of one string or more"),
        (("yes",), {}, "a list of one string or more"),
        (([1],), {}, "a list of one string or more"),
        ((["yes", ""],), {}, "choice '' has no token"),
        ((["yes"],), {"score": "best"}, "score must be one of"),
        ((["yes"],), {"max_tokens": 3}, "no attributes but adapter and score"),
    ],
)
def test_wrong_selects_are_rejected(
    tiny: Any, inputs: tuple[Any, ...], attrs: dict[str, Any], message: str
) -> None:
    driver = tiny.driver()
    context = driver.prefill(None, "abc")
    with pytest.raises(RequestRejected, match=message):
        driver.submit("select", context, *inputs, **attrs)


def test_a_choice_beyond_the_context_is_refused(tiny: Any) -> None:
    driver = tiny.driver(context_len=32)
    context = driver.prefill(None, "abc")
    with pytest.raises(RequestTooLong, match="103 tokens"):
        driver.submit("select", context, ["yes", "n" * 100])
