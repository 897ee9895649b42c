"""The kernels find the likeliest token themselves: the one that the logits say, on every set."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from backends.llm.model.batch import NO_TOKEN, StepBatch, batch_of
from backends.llm.model.native.native_model import NativeModel
from backends.llm.model.native.weight_source import TensorSource
from backends.llm.sample.top_k_top_p import likeliest
from backends.native.instruction_sets import isas_here

DTYPES = [torch.float32, torch.bfloat16]


def model_of(
    load_tiny: Callable[..., Any],
    isa: str,
    dtype: torch.dtype,
    change: Callable[[torch.Tensor], None] = lambda head: None,
    num_threads: int = 2,
    **changes: Any,
) -> NativeModel:
    """`change` may write to lm_head [V, E]."""
    loaded = load_tiny(head_dim=16, tie_word_embeddings=False, **changes)
    weights = loaded.found.load(torch.float32, torch.device("cpu"))
    change(weights["lm_head.weight"])
    source = TensorSource(weights)
    return NativeModel(loaded.found.config, source, dtype, False, num_threads, isa=isa)


def random_batch(num_texts: int, most: int, seed: int = 0) -> StepBatch:
    rng = random.Random(seed)
    texts = [[rng.randrange(200) for _ in range(rng.randrange(1, most))] for _ in range(num_texts)]
    return batch_of(16, *((ids, 0, pages(i, most)) for i, ids in enumerate(texts)))


def pages(text: int, most: int) -> list[int]:
    per_text = -(-most // 16)
    return list(range(text * per_text, (text + 1) * per_text))


def run(model: NativeModel, batch: StepBatch) -> tuple[list[int], torch.Tensor | None]:
    output = model.launch(batch, model.make_pool(64, 16)).collect()
    return output.tokens.tolist(), None if output.logits is None else torch.tensor(output.logits)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("isa", isas_here())
@pytest.mark.parametrize(("num_texts", "most"), [(1, 2), (5, 2), (32, 2), (3, 100)])
def test_tokens_are_those_of_the_logits(
    load_tiny: Callable[..., Any], isa: str, dtype: torch.dtype, num_texts: int, most: int
) -> None:
    model = model_of(load_tiny, isa, dtype)
    assert model.config.vocab_size % 32, "the last panel is to be a part of one"
    batch = random_batch(num_texts, most)
    tokens, logits = run(model, batch)
    assert logits is not None
    assert tokens == likeliest(logits).tolist()


@pytest.mark.parametrize("isa", isas_here())
def test_rows_with_and_without_logits_are_the_same_bits(
    load_tiny: Callable[..., Any], isa: str
) -> None:
    model = model_of(load_tiny, isa, torch.float32)
    batch = random_batch(7, 30)
    tokens, logits = run(model, batch)
    some = np.arange(1, len(batch.wanted), 3)
    again, few = run(model, replace(batch, with_logits=some))
    assert again == tokens
    assert logits is not None
    assert few is not None
    assert torch.equal(few, logits[some])
    assert run(model, replace(batch, with_logits=some[:0])) == (tokens, None)


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("isa", isas_here())
def test_the_lowest_of_equals_is_taken(
    load_tiny: Callable[..., Any], isa: str, num_threads: int
) -> None:
    def alike(head: torch.Tensor) -> None:
        head[:40] = 0
        head[40:] = head[40]

    model = model_of(load_tiny, isa, torch.float32, alike, num_threads)
    tokens, logits = run(model, random_batch(9, 20))
    assert logits is not None
    assert set(tokens) == {0, 40}  # by the sign of what the other rows have in common
    assert tokens == logits.argmax(dim=-1).tolist()


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")], ids=str)
@pytest.mark.parametrize("isa", isas_here())
def test_a_wrong_column_leaves_no_token(
    load_tiny: Callable[..., Any], isa: str, wrong: float
) -> None:
    def spoil(head: torch.Tensor) -> None:
        head[70] = wrong

    tokens, logits = run(model_of(load_tiny, isa, torch.float32, spoil), random_batch(3, 9))
    assert logits is not None
    expected = likeliest(logits).tolist()
    assert NO_TOKEN in expected  # an infinity may be negative, which is no obstacle
    assert tokens == expected
