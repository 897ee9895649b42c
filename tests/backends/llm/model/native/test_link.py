"""Keys and values linked to other places have the bits of plain loops, on every instruction set."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from random_weights import RandomWeights

from backends.llm.model.config import ModelConfig
from backends.llm.model.native.native_model import NativeModel
from backends.llm.model.rope import angle_table

Array = NDArray[Any]
DTYPES = ("float32", "bfloat16")
NUM_PAGES = 32


class Linked:
    """A model with a pool of random KV; sources lie in the first 16 pages, targets behind them."""

    def __init__(
        self, isa: str, dtype: str, head_dim: int = 48, page_size: int = 32, num_threads: int = 2
    ) -> None:
        self.config = ModelConfig(
            num_layers=2,
            hidden_size=16,
            intermediate_size=16,
            num_heads=2,
            num_kv_heads=2,
            head_dim=head_dim,
            vocab_size=8,
            max_positions=1024,
            rms_eps=1e-5,
            rope_theta=1e4,
        )
        self.per_word = 2 if dtype == "bfloat16" else 1
        weights = RandomWeights(self.config, "Q8_0")
        self.model = NativeModel(self.config, weights, dtype, False, num_threads, isa)
        self.pool = self.model.make_pool(NUM_PAGES, page_size)
        random = np.random.default_rng(0)
        numbers = random.normal(size=self.pool.pages.nbytes * self.per_word // 4)
        self.filled = as_bits(numbers.astype(np.float32), dtype).reshape(self.pool.pages.shape)
        self.dtype = dtype
        pages = random.permutation(16).tolist()
        self.places = pages, [16 + page for page in pages]

    def link(self, first: int, to: int, num_tokens: int) -> Array:
        """All pages after one link from random ones."""
        self.pool.pages[:] = self.filled
        self.again(first, to, num_tokens)
        return self.pool.pages.copy()

    def again(self, first: int, to: int, num_tokens: int) -> None:
        pages, to_pages = self.places
        self.model.link(self.pool, pages, first, to_pages, to, num_tokens)

    def numbers(self, pages: Array) -> tuple[Array, Array]:
        """Keys and values [L, P, S, K, D] as float32."""
        config, size, per = self.config, self.pool.page_size, self.per_word
        layers, heads = config.num_layers, config.num_kv_heads
        floats = as_floats(pages, self.dtype).reshape(layers, 2, NUM_PAGES, heads, -1)
        keys = floats[:, 0].reshape(layers, NUM_PAGES, heads, size // 16, -1, 16, per)
        values = floats[:, 1].reshape(layers, NUM_PAGES, heads, size // per, -1, per)
        shape = (layers, NUM_PAGES, heads, size, config.head_dim)
        by_slot = keys.transpose(0, 1, 2, 3, 5, 4, 6).reshape(shape)
        return (
            by_slot.swapaxes(2, 3),
            values.transpose(0, 1, 2, 3, 5, 4).reshape(shape).swapaxes(2, 3),
        )

    def expected(self, first: int, to: int, num_tokens: int) -> tuple[Array, Array]:
        """Token by token, each product and sum rounded as a fused multiply and add rounds it."""
        keys, values = self.numbers(self.filled)
        old_keys, old_values, size = keys.copy(), values.copy(), self.pool.page_size
        table = angle_table(self.model.frequencies, 1024)
        pages, to_pages = self.places
        for i in range(num_tokens):
            source = pages[(first + i) // size], (first + i) % size
            target = to_pages[(to + i) // size], (to + i) % size
            (c0, c1), (s0, s1) = (angles[[first + i, to + i]] for angles in table)
            cos, sin = fma(s1, s0, c1 * c0), fma(-c1, s0, s1 * c0)
            x, y = np.split(old_keys[:, *source], 2, axis=-1)
            turned = np.concatenate((fma(-y, sin, x * cos), fma(x, sin, y * cos)), axis=-1)
            keys[:, *target] = as_floats(as_bits(turned, self.dtype), self.dtype).reshape(
                turned.shape
            )
            values[:, *target] = old_values[:, *source]
        return keys, values


def fma(a: Array, b: Array, c: Array) -> Array:
    return np.asarray(a.astype(np.longdouble) * b + c, np.float32)


def as_bits(numbers: Array, dtype: str) -> Array:
    tensor = torch.from_numpy(np.ascontiguousarray(numbers)).to(getattr(torch, dtype))
    return np.asarray(tensor.view(torch.uint8).numpy())


def as_floats(bits: Array, dtype: str) -> Array:
    tensor = torch.from_numpy(np.ascontiguousarray(bits)).view(torch.uint8)
    return np.asarray(tensor.view(getattr(torch, dtype)).float().numpy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("head_dim", [16, 48, 64])
def test_every_word_is_that_of_plain_loops(isa: str, dtype: str, head_dim: int) -> None:
    linked = Linked(isa, dtype, head_dim)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 80), st.integers(0, 300), st.integers(0, 80))
    def check(first: int, to: int, num_tokens: int) -> None:
        found = linked.numbers(linked.link(first, to, num_tokens))
        for one, other in zip(found, linked.expected(first, to, num_tokens), strict=True):
            np.testing.assert_array_equal(one, other)

    check()


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_parts_and_pages_change_no_bit(isa: str, dtype: str) -> None:
    whole = Linked(isa, dtype, num_threads=1).link(5, 39, 201)
    parts = Linked(isa, dtype, num_threads=3)
    parts.link(5, 39, 17)
    parts.again(22, 56, 1)
    parts.again(23, 57, 183)
    np.testing.assert_array_equal(parts.pool.pages, whole)
    small = Linked(isa, dtype, page_size=16)
    found, expected = small.numbers(small.link(5, 39, 201)), small.expected(5, 39, 201)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_key_that_is_no_number_stays_none(isa: str, dtype: str) -> None:
    linked = Linked(isa, dtype)
    linked.filled[:] = 0xFF
    keys, values = linked.numbers(linked.link(0, 64, 16))
    assert np.isnan(keys).all()
    assert np.isnan(values).all()
