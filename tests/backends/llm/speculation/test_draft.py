"""A draft model's guesses: batched, on KV of its own, rolled back with the target's tokens."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.errors import ConfigError
from backends.llm.loader import load_core
from backends.llm.model.batch import StepBatch
from backends.llm.options import LLMOptions
from backends.llm.speculation.draft import MOST_READ, DraftProposer
from backends.llm.speculation.speculator import Ask

PROMPTS = ("the owl sat in the old oak and said", "kq7#vZ p0x!mW 3fj", "abcabcabc" * 9, "x")


def answers(driver: Any, prompts: Any = PROMPTS, **attrs: Any) -> list[Any]:
    attrs = {"max_tokens": 40, **attrs}
    results: list[Any] = driver.run(
        *(driver.submit("decode", None, prompt, **attrs) for prompt in prompts)
    )
    return results


def ids_of(results: list[Any]) -> list[list[int]]:
    return [result.outputs[1].ids for result in results]


def drafted(model: Any, draft: Any, **options: Any) -> Any:
    return model.driver(stops=False, draft=draft, speculation="draft", **options)


def proposer_of(driver: Any) -> DraftProposer:
    proposer: DraftProposer = driver.core.speculator.proposer
    return proposer


def batches_of(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[StepBatch]:
    """What the model is given from now on."""
    seen: list[StepBatch] = []
    launch = model.model.launch

    def watch(batch: StepBatch, kv: Any) -> Any:
        arrays = {"positions": batch.positions.copy(), "wanted": batch.wanted.copy()}
        seen.append(replace(batch, **arrays))  # the builder's own change with its next batch
        return launch(batch, kv)

    monkeypatch.setattr(model.model, "launch", watch)
    return seen


@pytest.fixture(scope="module")
def other(load_tiny: Any) -> Any:
    """A smaller model that is of another opinion, its output padded."""
    return load_tiny(num_hidden_layers=1, vocab_size=272, max_position_embeddings=100)


@pytest.mark.parametrize("attrs", [{}, {"temperature": 1.0, "seed": 5}], ids=["greedy", "drawn"])
def test_a_model_that_guesses_for_itself_is_right(tiny: Any, attrs: dict[str, Any]) -> None:
    plain = answers(tiny.driver(stops=False), **attrs)
    driver = drafted(tiny, tiny)
    guessed = answers(driver, speculate=True, **attrs)
    assert ids_of(guessed) == ids_of(plain)
    usages = [r.usage for r in guessed]
    assert sum(u.accepted_tokens for u in usages) >= 0.97 * sum(u.guessed_tokens for u in usages)
    # 40 tokens: the first with the prompt, one plain step to be measured, 5 a step
    assert driver.core.num_steps <= 2 + 40 / 5 + 1


@pytest.mark.parametrize(
    "attrs",
    [{}, {"temperature": 0.5, "seed": 5}, {"temperature": 0.8, "seed": 1, "logit_bias": {97: 2.0}}],
    ids=["greedy", "drawn", "biased"],
)
def test_a_draft_of_another_opinion_changes_nothing(
    tiny: Any, other: Any, attrs: dict[str, Any]
) -> None:
    plain = answers(tiny.driver(stops=False), **attrs)
    guessed = answers(drafted(tiny, other), speculate=True, **attrs)
    assert ids_of(guessed) == ids_of(plain)
    usages = [r.usage for r in guessed]
    assert sum(u.guessed_tokens for u in usages) > 2 * sum(u.accepted_tokens for u in usages)


def test_a_draft_in_a_tiny_pool_changes_nothing(tiny: Any, other: Any) -> None:
    prompts = [PROMPTS[0] + c for c in "abcd"]
    plain = answers(tiny.driver(stops=False), prompts)
    driver = drafted(tiny, other, kv_tokens=160, watermark=0.0)
    guessed = answers(driver, prompts, speculate=True)
    assert ids_of(guessed) == ids_of(plain)
    assert driver.core.planner.num_preemptions > 0


def test_a_draft_holds_nothing_when_all_have_ended(tiny: Any, other: Any) -> None:
    driver = drafted(tiny, other)
    aborted = driver.submit("decode", None, PROMPTS[0], max_tokens=40, speculate=True)
    answers(driver, PROMPTS[1:2], max_tokens=5, speculate=True)
    driver.core.abort(aborted)
    answers(driver, speculate=True)
    cache = proposer_of(driver).cache
    cache.forget()
    assert cache.pool.num_free == cache.pool.num_pages


def test_a_draft_reads_a_shared_prompt_once(
    tiny: Any, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = drafted(tiny, other)
    prompt = "the owl sat in the old oak " * 2
    answers(driver, [prompt + "a"], max_tokens=9, speculate=True)
    seen = batches_of(other, monkeypatch)
    answers(driver, [prompt + "b"], max_tokens=9, speculate=True)
    assert min(int(batch.positions.min()) for batch in seen) == 48  # three pages were there


def test_a_draft_goes_on_where_the_last_answer_ended(
    tiny: Any, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = drafted(tiny, other)
    (first,) = answers(driver, ["the owl sat in the old oak"], max_tokens=40, speculate=True)
    seen = batches_of(other, monkeypatch)
    driver.decode(first.outputs[1], " and", max_tokens=4, speculate=True)
    assert min(int(batch.positions.min()) for batch in seen) >= 48


def test_after_a_wrong_guess_a_draft_goes_on_from_the_true_tokens(tiny: Any, other: Any) -> None:
    driver = drafted(tiny, other)
    driver.submit("decode", None, PROMPTS[0], max_tokens=80)
    driver.step()
    (sequence,) = driver.core.planner.running
    proposer = proposer_of(driver)
    for num_true in (0, 1, 2, 4):
        (guesses,) = proposer.propose([Ask(sequence, 4)])
        assert len(guesses) == 4
        wrong = (guesses[num_true] + 1) % 256 if num_true < 4 else 7
        sequence.ids += [*guesses[:num_true], wrong, 5, 6]  # the last two without its help
        fresh = proposer_of(drafted(tiny, other))
        assert proposer.propose([Ask(sequence, 4)]) == fresh.propose([Ask(sequence, 4)])
        proposer.check_integrity()


def test_a_draft_stops_at_the_end_of_its_own_context(tiny: Any, other: Any) -> None:
    (plain,) = answers(tiny.driver(stops=False), PROMPTS[:1], max_tokens=90)
    driver = drafted(tiny, other)
    (guessed,) = answers(driver, PROMPTS[:1], max_tokens=90, speculate=True)
    assert guessed.outputs[1].ids == plain.outputs[1].ids
    assert len(guessed.outputs[1].ids) > other.found.config.max_positions


def test_a_long_prompt_is_read_in_parts_while_tokens_go_on(load_tiny: Any) -> None:
    model = load_tiny(max_position_embeddings=4096)
    driver = drafted(model, model, kv_tokens=8192, token_budget=2048)
    (result,) = answers(driver, ["owl " * 400], max_tokens=30, speculate=True)
    assert result.usage.accepted_tokens > 0
    assert 3 * MOST_READ < 1600  # so four steps had no guess
    assert driver.core.speculation_stats().guessed_steps <= 30 // 5 + 2


def test_the_draft_guesses_for_a_batch_in_one_go(
    tiny: Any, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = drafted(tiny, other, guesses=3)
    seen = batches_of(other, monkeypatch)
    answers(driver, speculate=True, max_tokens=10)
    widest = max(len(batch.wanted) for batch in seen)
    assert widest == len(PROMPTS)
    stats = driver.core.speculation_stats()
    assert len([b for b in seen if len(b.wanted)]) <= 3 * stats.guessed_steps


def test_a_draft_of_another_vocabulary_is_refused(
    tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    renamed = tmp_path / "renamed"
    shutil.copytree(tiny_folder(), renamed)
    tokens = json.loads((renamed / "tokenizer.json").read_text())
    vocab = tokens["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    (renamed / "tokenizer.json").write_text(json.dumps(tokens))
    options = LLMOptions(speculation="draft", draft=str(renamed))
    with pytest.raises(ConfigError, match=r"token \d+ is 'b' to the draft .* same vocabulary"):
        load_core(tiny_folder(), options)


@pytest.mark.parametrize(
    "options", [{"speculation": "draft"}, {"draft": "x"}, {"speculation": "ngram", "draft": "x"}]
)
def test_half_of_a_draft_is_refused(
    tiny_folder: Callable[..., Path], options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="go together"):
        load_core(tiny_folder(), LLMOptions(**options))


def test_a_draft_is_loaded_by_path(tiny_folder: Callable[..., Path]) -> None:
    options = LLMOptions(speculation="draft", draft=str(tiny_folder()), kernels="torch")
    core = load_core(tiny_folder(), options)
    assert core.speculator is not None
