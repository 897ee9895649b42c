"""Picking without sorting gives what sorting gives."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.llm.requests.sampling import Sampling
from backends.llm.sample import top_k_top_p
from backends.llm.sample.random_numbers import stream_of, uniforms_at
from backends.llm.sample.top_k_top_p import draw, draw_truncated, likeliest

SIZES = (5, 64, 259, 3001)


def by_sorting(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The probabilities [V] that are drawn from, in float64."""
    ordered, ids = logits.double().sort(descending=True, stable=True)
    probs = ((ordered - ordered[0]) / sampling.temperature).softmax(-1)
    probs[probs < sampling.min_p * probs[0]] = 0
    if sampling.top_k is not None:
        probs[sampling.top_k :] = 0
    probs /= probs.sum()
    probs[(probs.cumsum(-1) - probs) >= sampling.top_p] = 0
    return torch.zeros_like(probs).scatter(0, ids, probs / probs.sum())


def assert_drawn_from(expected: torch.Tensor, shares: torch.Tensor, num_draws: int) -> None:
    by_luck = 5 * (expected * (1 - expected) / num_draws).sqrt() + 1.5 / num_draws  # five sigma
    assert ((shares - expected).abs() <= by_luck).all()


@pytest.mark.parametrize("size", SIZES)
def test_the_likeliest_is_the_argmax(size: int) -> None:
    logits = torch.randn(7, size, generator=torch.Generator().manual_seed(size))
    assert likeliest(logits).tolist() == logits.argmax(-1).tolist()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "attrs",
    [
        {},
        {"top_p": 0.9},
        {"top_p": 0.999},  # more tokens than the first candidates hold
        {"top_k": 7},
        {"top_k": 300, "top_p": 0.8},
        {"min_p": 0.02},
        {"min_p": 1e-4, "top_p": 0.95},
        {"temperature": 20.0, "top_p": 0.99},
    ],
    ids=str,
)
def test_draws_follow_the_sorted_distribution(size: int, attrs: dict[str, Any]) -> None:
    sampling = Sampling(**{"temperature": 1.0, **attrs})
    logits = torch.randn(size, generator=torch.Generator().manual_seed(size)) * 2
    expected = by_sorting(logits, sampling)
    num_draws = 4000 if size < 1000 else 1000
    uniforms = (torch.arange(num_draws, dtype=torch.float64) + 0.5) / num_draws  # evenly spread
    draws = draw_truncated if sampling.is_truncated else draw
    found = draws(logits.repeat(num_draws, 1), [sampling] * num_draws, uniforms)
    assert not (expected[found] == 0).any()
    shares = torch.bincount(found, minlength=size).double() / num_draws
    assert_drawn_from(expected, shares, num_draws)


@pytest.mark.parametrize("attrs", [{}, {"top_k": 7}, {"top_p": 0.5}, {"min_p": 0.1}], ids=str)
def test_even_points_give_even_shares(attrs: dict[str, Any]) -> None:
    """As long as the likeliest tokens hold all that is kept, a draw inverts the distribution."""
    sampling = Sampling(**{"temperature": 0.5, **attrs})
    logits = torch.randn(3000, generator=torch.Generator().manual_seed(1)) * 2
    uniforms = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    draws = draw_truncated if sampling.is_truncated else draw
    found = draws(logits.repeat(2000, 1), [sampling] * 2000, uniforms)
    shares = torch.bincount(found, minlength=3000).double() / 2000
    assert float((shares - by_sorting(logits, sampling)).abs().max()) <= 1.5 / 2000


def test_draws_without_luck_end_by_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top_k_top_p, "_DRAWS", 1)
    logits = torch.randn(1000, generator=torch.Generator().manual_seed(2)) * 0.3
    sampling = Sampling(temperature=1.0, top_p=0.5)
    expected = by_sorting(logits, sampling)
    uniforms = torch.rand(3000, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found = draw_truncated(logits.repeat(3000, 1), [sampling] * 3000, uniforms)
    assert not (expected[found] == 0).any()
    shares = torch.bincount(found, minlength=1000).double() / 3000
    assert_drawn_from(expected, shares, 3000)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), others=st.integers(0, 5))
def test_a_row_does_not_depend_on_its_mates(seed: int, others: int) -> None:
    make = torch.Generator().manual_seed(seed)
    logits = (torch.randn(1 + others, 700, generator=make) * 3).bfloat16().float()  # many ties
    mates = [Sampling(temperature=1.0, top_p=0.999), Sampling(temperature=2.0, top_k=130)] * 3
    samplings = [Sampling(temperature=1.3, top_p=0.95), *mates][: 1 + others]
    uniforms = torch.rand(1 + others, dtype=torch.float64, generator=make)
    together = draw_truncated(logits, samplings, uniforms)
    alone = draw_truncated(logits[:1], samplings[:1], uniforms[:1])
    assert together[0] == alone[0]


def test_points_are_even_and_differ_by_seed_and_place() -> None:
    streams = [stream_of(seed) for seed in range(200)]
    found = uniforms_at([s for s in streams for _ in range(50)], list(range(50)) * 200)
    assert len(set(found.tolist())) == 10_000
    counts = torch.histc(torch.from_numpy(found), bins=20, min=0, max=1)
    assert float((counts - 500).abs().max()) < 110  # five sigma
    table = torch.from_numpy(found).view(200, 50)
    assert abs(float(torch.corrcoef(torch.stack((table[:-1, 0], table[1:, 0])))[0, 1])) < 0.25


def test_a_seed_gives_the_same_points_and_no_seed_others() -> None:
    assert stream_of(-1) == stream_of(-1)
    assert stream_of(None) != stream_of(None)
    assert uniforms_at([stream_of(7)], [3]) == uniforms_at([5, stream_of(7)], [0, 3])[1]


def test_a_top_k_beyond_the_vocabulary_harms_no_row_beside_it() -> None:
    logits = torch.randn(3, 3001, generator=torch.Generator().manual_seed(1))
    samplings = [Sampling(temperature=1.0, top_k=k) for k in (300, 60_000, None)]
    uniforms = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    together = draw_truncated(logits.clone(), samplings, uniforms)
    for row in range(3):
        alone = draw_truncated(
            logits[row : row + 1].clone(), [samplings[row]], uniforms[row : row + 1]
        )
        assert alone.tolist() == together[row : row + 1].tolist()
