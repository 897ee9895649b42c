"""Lossy forms of a page: what they lose, how large they are, and what they refuse."""

import numpy as np
import pytest

from backends.llm.kv.tiers.quantizers import QUANTIZERS, CacheGen, Floats, Int8, Quantizer

SHAPE = (16, 6, 2, 3, 32)
FORMS = pytest.mark.parametrize("quantizer", QUANTIZERS.values(), ids=QUANTIZERS.keys())


def page(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Floats:
    """Tokens alike, as in a text: a bias of each channel and a little of their own."""
    random = np.random.default_rng(seed)
    own = random.standard_normal(shape) * 10.0 ** np.arange(-1, shape[1] - 1)[:, None, None, None]
    return np.float32(own + 3 * own[:1])


def through(quantizer: Quantizer, values: Floats) -> Floats:
    content = np.frombuffer(quantizer.encode(values), np.uint8)
    return quantizer.decode(content, values.shape)


def test_int8_is_within_half_a_127th_of_the_largest_of_a_token_and_head() -> None:
    values = page()
    error = np.abs(through(Int8(), values) - values).max(-1)
    assert (error <= np.abs(values).max(-1) / 127 * 0.5001).all()
    assert len(Int8().encode(values)) == Int8().num_bytes(SHAPE) == values.size * (1 + 4 / 32)


def test_cachegen_is_within_half_a_bin_and_keeps_the_anchor_as_int8_does() -> None:
    values = page()
    found = through(CacheGen(), values)
    spread = np.sqrt((values**2).mean((0, 4)))  # [L, 2, H]
    bins = spread * np.repeat(CacheGen.bins, 2)[:, None, None]
    assert (np.abs(found - values).max((0, 4)) <= 0.5001 * bins).all()
    assert (found[:1] == through(Int8(), values[:1])).all()


def test_cachegen_takes_fewer_bytes_than_int8_and_fewer_still_where_tokens_are_alike() -> None:
    alike = np.repeat(page()[:1], 16, 0)
    sizes = [len(CacheGen().encode(values)) for values in (page(), alike)]
    assert sizes[0] < 0.75 * len(Int8().encode(page()))
    assert sizes[1] < 0.5 * sizes[0]


@FORMS
@pytest.mark.parametrize("num_tokens", [1, 2, 7, 16, 48])
@pytest.mark.parametrize("num_layers", [1, 2, 5, 30])
def test_every_size_of_page_comes_back(
    quantizer: Quantizer, num_tokens: int, num_layers: int
) -> None:
    values = np.float32(np.random.default_rng(1).standard_normal((num_tokens, num_layers, 2, 1, 8)))
    found = through(quantizer, values)
    assert found.shape == values.shape
    assert found.dtype == np.float32
    assert np.abs(found - values).max() < 0.5


@FORMS
def test_zeros_stay_zeros_and_an_outlier_stays_an_outlier(quantizer: Quantizer) -> None:
    values = np.zeros(SHAPE, np.float32)
    assert not through(quantizer, values).any()
    values[3, 1, 0, 2, 7] = 1e4
    found = through(quantizer, values)
    assert abs(found[3, 1, 0, 2, 7] - 1e4) < 100
    values[3, 1, 0, 2, 7] = 0
    assert np.abs(np.delete(found, 1, axis=1)).max() == 0


@FORMS
def test_a_page_that_comes_back_twice_loses_nothing_more(quantizer: Quantizer) -> None:
    once = through(quantizer, page())
    twice = through(quantizer, once)
    first_loss = np.abs(once - page()).mean()
    assert np.abs(twice - page()).mean() < 1.1 * first_loss


@FORMS
def test_what_was_not_encoded_is_refused(quantizer: Quantizer) -> None:
    whole = np.frombuffer(quantizer.encode(page()), np.uint8)
    for content in (whole[:0], whole[:3], whole[: len(whole) // 2], whole[:-1], whole[::-1]):
        if quantizer.name.startswith("int8") and len(content) == len(whole):
            continue  # all bytes are numbers: a checksum is what tells
        with pytest.raises(ValueError):
            quantizer.decode(content, SHAPE)
