"""What a step gives the model and takes from it: arrays that stay, tokens or logits, and rows whose
logits are not finite."""

from collections.abc import Callable
from copy import copy
from typing import Any

import pytest
import torch

from backends.errors import EngineError
from backends.llm.model.batch import NO_TOKEN, StepBatch
from backends.llm.model.native.native_model import NativeModel
from backends.llm.model.native.weight_source import TensorSource
from backends.llm.model.torch_model.llama import LlamaModel
from backends.llm.sample.top_k_top_p import likeliest
from backends.native.library import library

PROMPTS = ("the owl sat in the oak", "kq7#vZ p0x!mW", "abcabcabc", "x")
POISON = "~"  # its embedding is NaN


def watched(driver: Any, monkeypatch: pytest.MonkeyPatch) -> list[StepBatch]:
    """The batches of all steps from now on; their arrays are the builder's own."""
    seen: list[StepBatch] = []
    launch = driver.core.model.launch

    def watch(batch: StepBatch, kv: Any) -> Any:
        seen.append(batch)
        return launch(batch, kv)

    monkeypatch.setattr(driver.core.model, "launch", watch)
    return seen


def test_plain_greedy_rows_get_tokens_and_others_their_logits(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tiny.driver(stops=False)
    contexts = [driver.prefill(None, prompt) for prompt in PROMPTS]
    seen = watched(driver, monkeypatch)
    attrs: list[dict[str, Any]] = [{}, {"temperature": 1.0, "seed": 3}, {"logprobs": 1}, {}]
    driver.run(
        *(
            driver.submit("decode", context, max_tokens=3, **own)
            for context, own in zip(contexts, attrs, strict=True)
        )
    )
    assert [batch.with_logits.tolist() for batch in seen] == [[1, 2]] * 3
    assert [batch.wanted.tolist() for batch in seen] == [[0, 1, 2, 3]] * 3


@pytest.mark.parametrize(
    "attrs",
    [
        {"logit_bias": {97: 2.0}},
        {"presence_penalty": 0.5},
        {"min_tokens": 1},
        {"regex": "[a-z]+"},
        {"top_k": 3, "temperature": 0.3},
    ],
    ids=lambda attrs: next(iter(attrs)),
)
def test_what_changes_logits_asks_for_them(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, attrs: dict[str, Any]
) -> None:
    driver = tiny.driver()
    seen = watched(driver, monkeypatch)
    driver.decode(None, "abc", max_tokens=2, **attrs)
    assert all(len(batch.with_logits) == len(batch.wanted) for batch in seen)


def test_arrays_and_page_lists_stay_where_they_are(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tiny.driver(stops=False, page_size=8)
    seen = watched(driver, monkeypatch)
    driver.run(*(driver.submit("decode", None, prompt, max_tokens=20) for prompt in PROMPTS))
    for name in ("tokens", "positions", "span_table", "wanted"):
        assert len({getattr(batch, name).ctypes.data for batch in seen}) == 1
    assert len({batch.page_rows.flat.ctypes.data for batch in seen}) == 1


def test_a_page_list_is_written_when_its_sequence_gets_a_page(tiny: Any) -> None:
    driver = tiny.driver(stops=False, page_size=8)
    driver.submit("decode", None, "x" * 9, max_tokens=25)
    rows = driver.core._batches._page_rows
    written: list[int] = []
    for _ in range(25):
        driver.step()
        written += [first for _, first in sorted(rows.take_changes().items())]
    assert written == [0, 2, 3, 4]  # the prompt's two pages, then one page after the other


@pytest.mark.parametrize("speculation", ["off", "ngram"])
def test_page_lists_are_those_of_the_sequences_at_every_step(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, speculation: str
) -> None:
    driver = tiny.driver(
        kv_tokens=160,
        stops=False,
        page_size=8,
        max_running=4,
        watermark=0.0,
        speculation=speculation,
    )
    planned: list[Any] = []
    build = driver.core._batches.build

    def watch(runs: Any) -> StepBatch:
        batch: StepBatch = build(runs)
        for run, span in zip(runs, batch.spans, strict=True):
            pages = run.sequence.table.pages[: -(-span.num_keys // 8)]
            assert batch.pages_of(span).tolist() == pages
        planned.append(len(runs))
        return batch

    monkeypatch.setattr(driver.core._batches, "build", watch)
    context = driver.prefill(None, PROMPTS[0])
    forks = [driver.submit("decode", context, max_tokens=60) for _ in range(3)]
    prompts = [driver.submit("decode", None, prompt * 3, max_tokens=30) for prompt in PROMPTS]
    driver.run(*forks, *prompts)
    assert driver.core.planner.num_preemptions > 0
    assert max(planned) == 4


def poisoned_weights(loaded: Any) -> dict[str, torch.Tensor]:
    """A prompt with one token in it makes all numbers after it NaN."""
    (token,) = loaded.tokenizer.encode_text(POISON)
    weights: dict[str, torch.Tensor] = loaded.found.load(torch.float32, torch.device("cpu"))
    weights["model.embed_tokens.weight"][token] = float("nan")
    return weights


def torch_model(loaded: Any) -> Any:
    return LlamaModel(loaded.found.config, poisoned_weights(loaded))


def native_model(loaded: Any) -> Any:
    source = TensorSource(poisoned_weights(loaded))
    return NativeModel(loaded.found.config, source, torch.float32, num_threads=1)


needs_kernels = pytest.mark.skipif(library() is None, reason="no kernels here")
MODELS = [
    pytest.param(torch_model, id="torch"),
    pytest.param(native_model, id="native", marks=needs_kernels),
]
ATTRS: list[dict[str, Any]] = [
    {},
    {"temperature": 1.0, "seed": 3},
    {"temperature": 1.0, "seed": 3, "top_k": 4, "top_p": 0.9},
    {"logprobs": 2},
    {"regex": "[a-z ]+"},
    {"n": 2, "temperature": 0.5, "seed": 1},
]


@pytest.fixture(params=MODELS)
def poisoned(load_tiny: Callable[..., Any], request: pytest.FixtureRequest) -> Any:
    loaded = load_tiny(head_dim=16, tie_word_embeddings=False)
    return LoadedPoison(loaded, request.param(loaded))


class LoadedPoison:
    """Drivers over a poisoned model."""

    def __init__(self, loaded: Any, model: Any) -> None:
        self._loaded = loaded
        self._model = model

    def driver(self, **options: Any) -> Any:
        loaded = copy(self._loaded)
        loaded.model = self._model
        return loaded.driver(stops=False, **options)


@pytest.mark.parametrize("attrs", ATTRS, ids=lambda attrs: next(iter(attrs), "greedy"))
def test_a_row_without_finite_logits_fails_alone(poisoned: Any, attrs: dict[str, Any]) -> None:
    options = {"max_tokens": 3, **attrs}
    alone = [poisoned.driver().decode(None, prompt, **options) for prompt in PROMPTS[:3]]
    driver = poisoned.driver()
    prompts = (PROMPTS[0], "ab" + POISON, *PROMPTS[1:3])
    first, failed, *others = driver.run(
        *(driver.submit("decode", None, prompt, **options) for prompt in prompts)
    )
    assert isinstance(failed, EngineError)
    assert "logits are not finite (NaN or infinity) after 3 tokens" in str(failed)
    assert [r.outputs[0] for r in (first, *others)] == [r.outputs[0] for r in alone]


def test_a_choice_without_finite_logits_fails_alone(poisoned: Any) -> None:
    driver = poisoned.driver()
    bad, good = driver.prefill(None, "ab" + POISON), driver.prefill(None, "abc")
    expected = driver.call("select", good, ["yes", "no"]).outputs[1]
    failed, answer = driver.run(
        driver.submit("select", bad, ["yes", "no"]), driver.submit("select", good, ["yes", "no"])
    )
    assert isinstance(failed, EngineError)
    assert "not finite" in str(failed)
    assert answer.outputs[1] == expected


def test_guesses_of_a_row_without_finite_logits_fail_with_it(poisoned: Any) -> None:
    driver = poisoned.driver(speculation="ngram")
    prompts = ("abcabcabcabc", "abcabcabc" + POISON + "abc")
    good, failed = driver.run(
        *(driver.submit("decode", None, p, max_tokens=4, speculate=True) for p in prompts)
    )
    assert isinstance(failed, EngineError)
    plain = poisoned.driver().decode(None, prompts[0], max_tokens=4)
    assert good.outputs[0] == plain.outputs[0]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")], ids=str)
def test_one_wrong_logit_is_enough_and_minus_infinity_is_none(wrong: float) -> None:
    logits = torch.randn(4, 200)
    logits[1, 130] = wrong
    logits[2, :] = float("-inf")
    logits[3, 1:] = float("-inf")
    tokens = likeliest(logits).tolist()
    assert tokens == [int(logits[0].argmax()), NO_TOKEN, NO_TOKEN, 0]
