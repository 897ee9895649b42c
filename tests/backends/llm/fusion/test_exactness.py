"""What is exact of a fused prompt: where keys stand, what a row sees, what is computed."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_llama import PlainLlama, joined, plain_llama

from backends.base import Result
from backends.llm.model.batch import StepBatch, batch_of
from backends.llm.model.native.kv_pool import NativeKVPool
from backends.llm.model.native.native_model import NativeModel
from backends.llm.model.torch_model.llama import LlamaModel
from backends.llm.model.weights import ROPE_FACTORS

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
ROPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "llama3": {"rope_parameters": LLAMA3},
    "linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}},
}
PREFIX = "Answer from these passages. "
CHUNKS = ("The sea is deep and cold here.", "A bell rang twice; nobody came.", "Odd.")
QUESTION = " What rang?"
LAYOUTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "in order": (PREFIX, CHUNKS),
    "in another order": (PREFIX, CHUNKS[::-1]),
    "one twice": (PREFIX, (CHUNKS[1], CHUNKS[0], CHUNKS[1])),
    "of one token": (PREFIX, ("a", CHUNKS[0], "b", "c")),
    "of many pages": (PREFIX, (CHUNKS[2], "It tells of ships. " * 7, CHUNKS[2])),
    "of whole pages": ("x" * 32, ("y" * 16, "z" * 32, "w" * 16)),
    "behind nothing": ("", CHUNKS),
    "behind one token": ("x", CHUNKS),
    "behind many pages": ("A storm came up over the sea. " * 4, CHUNKS),
}


def is_bf16(model: Any) -> bool:
    return str(model.dtype).endswith("bfloat16")


def kv_of(model: Any, pool: Any, pages: list[int], num_tokens: int) -> list[tuple[Any, Any]]:
    """Keys and values [T, K, D] of each layer, in float32."""
    read = native_kv if isinstance(model, NativeModel) else torch_kv
    return [(k[:num_tokens], v[:num_tokens]) for k, v in read(model, pool, pages)]


def torch_kv(model: Any, pool: Any, pages: list[int]) -> Iterator[tuple[Any, Any]]:
    for layer in range(model.config.num_layers):
        k, v = pool.read(layer, torch.tensor(pages))
        yield k.float().numpy(), v.float().numpy()


def native_kv(model: Any, pool: Any, pages: list[int]) -> Iterator[tuple[Any, Any]]:
    config, size, per_word = model.config, pool.page_size, 2 if is_bf16(model) else 1
    dtype = torch.bfloat16 if is_bf16(model) else torch.float32
    for layer in pool.pages:
        bits = torch.from_numpy(layer[:, pages].copy()).view(torch.uint8)
        k, v = bits.view(dtype).float().numpy()
        keys = k.reshape(len(pages), config.num_kv_heads, size // 16, -1, 16, per_word)
        values = v.reshape(len(pages), config.num_kv_heads, size // per_word, -1, per_word)
        rows = (len(pages) * size, config.num_kv_heads, config.head_dim)
        yield (
            keys.transpose(0, 2, 4, 1, 3, 5).reshape(rows),
            values.transpose(0, 2, 4, 1, 3).reshape(rows),
        )


def far(a: Any, b: Any) -> float:
    """Of the size of b."""
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def check_first_layer(model: Any) -> None:
    """Keys depend on token and position alone there; values have the same bits."""
    ids, pages = list(range(40, 90)), [3, 1, 7, 5]
    most = 1e-6 if not is_bf16(model) else 3.5e-3  # three roundings of 1.7e-3: both, and the old

    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 34), st.integers(0, 400))
    def check(first: int, to: int) -> None:
        kv, end = model.make_pool(40, 16), to + 50 - first
        model.launch(batch_of(16, (ids, 0, pages)), kv).collect()
        linked = list(range(8, 8 - (-end // 16)))
        model.link(kv, pages, first, linked, to, 50 - first)
        fresh = model.make_pool(40, 16)
        model.launch(batch_of(16, (ids[first:], to, linked)), fresh).collect()
        (found_k, found_v), *_ = kv_of(model, kv, linked, end)
        (k, v), *_ = kv_of(model, fresh, linked, end)
        assert far(found_k[to:], k[to:]) <= most
        assert far(found_v[to:], v[to:]) <= (0 if isinstance(model, NativeModel) else 1e-6)

    check()


@pytest.mark.parametrize("rope", ROPES)
def test_linked_keys_of_the_first_layer_are_those_computed_there(
    load_tiny: Callable[..., Any], numerics: dict[str, Any], rope: str
) -> None:
    check_first_layer(load_tiny(head_dim=16, **ROPES[rope]).moved(**numerics).model)


class WithFactors:
    """A source of weights with the rope factors of a GGUF file."""

    def __init__(self, source: Any, factors: Any) -> None:
        self._source = source
        self._factors = factors

    def values(self, name: str) -> Any:
        return self._factors if name == ROPE_FACTORS else self._source.values(name)

    def blocks(self, name: str) -> Any:
        return self._source.blocks(name)


def test_frequencies_of_a_file_turn_keys_as_they_turn_new_ones(
    load_tiny: Callable[..., Any], numerics: dict[str, Any]
) -> None:
    found, dtype = load_tiny(head_dim=16).found, numerics["dtype"]
    factors = np.linspace(1, 6, 8, dtype=np.float32)
    if "isa" in numerics:
        source = WithFactors(found.source(), factors)
        check_first_layer(NativeModel(found.config, source, dtype, False, 1, numerics["isa"]))
    else:
        weights = found.load(dtype, torch.device("cpu"))
        weights[ROPE_FACTORS] = torch.from_numpy(factors)
        check_first_layer(LlamaModel(found.config, weights))


def runs_of(ids: list[int], runs: list[tuple[int, int]], pages: list[int]) -> StepBatch:
    """The computed runs [first, end) of one prompt, which share a row of the page table."""
    batch = batch_of(16, *((ids[a:b], a, pages) for a, b in runs))
    batch.spans[:] = [span._replace(first_page=batch.spans[0].first_page) for span in batch.spans]
    batch.span_table[:] = batch.spans
    return batch


def test_a_computed_row_sees_no_key_behind_it(every: Any) -> None:
    """With several runs in a step: what lies at higher places, linked or computed, changes no bit
    of it, and what lies at lower ones does."""
    model, pages = every.model, [5, 0, 3, 2, 7]
    ids, runs = list(range(60, 140)), [(0, 4), (18, 19), (33, 36), (50, 68), (76, 80)]
    rows = [row for a, b in runs for row in range(a, b)]

    def logits(changed: int | None) -> Any:
        """With other linked KV and other tokens from place `changed` on."""
        kv, tokens = model.make_pool(8, 16), list(ids)
        model.launch(batch_of(16, (ids, 0, pages)), kv).collect()
        if changed is not None:
            tokens[changed:] = [7] * len(tokens[changed:])
            model.launch(batch_of(16, (tokens[changed:], changed, pages)), kv).collect()
        found = model.launch(runs_of(tokens, runs, pages), kv).collect().logits
        return torch.as_tensor(found).clone()

    before = logits(None)
    for changed in (1, 4, 18, 19, 25, 34, 40, 66, 70, 79):
        same = (logits(changed) == before).all(dim=1).tolist()
        assert same == [row < changed for row in rows], changed


class Watched:
    """A driver of fused prompts that notes which places its model computes; its pool is full of NaN
    at first."""

    def __init__(self, loaded: Any, fused: Callable[[Any], Any], **options: Any) -> None:
        self.driver = loaded.driver(stops=False, **options)
        self.fused = fused(self.driver)
        self.model = self.driver.core.model
        fill_with_nan(self.driver.core.kv)
        self.places: list[int] = []

    def prefill(self, plan: str, *parts: Any) -> tuple[Any, list[int]]:
        """The context, and the places that were computed in the steps after the chunks' own."""
        launch = self.model.launch

        def noted(batch: StepBatch, kv: Any) -> Any:
            self.places += batch.positions.tolist()
            return launch(batch, kv)

        self.fused.on_last = self.places.clear
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.model, "launch", noted)
            outcome = self.fused.prefill(plan, *parts)
        assert isinstance(outcome, Result), outcome
        return outcome.outputs[0], sorted(self.places)

    def logits(self, context: Any, tokens: list[int]) -> torch.Tensor:
        """[N + 1, V]: after the context and after each of the tokens that follow it."""
        cache, ids = self.driver.core.cache, [context.ids[-1], *tokens]
        table = cache.fork(context.table)
        assert table.num_computed == len(context.ids) - 1
        assert cache.reserve(table, table.num_computed + len(ids))
        batch = batch_of(cache.pool.page_size, (ids, table.num_computed, table.pages))
        logits = self.model.launch(batch, self.driver.core.kv).collect().logits
        cache.drop(table)
        return torch.as_tensor(logits).clone()


def fill_with_nan(kv: Any) -> None:
    if isinstance(kv, NativeKVPool):
        kv.pages[:] = 0xFF
    else:
        kv._pages.fill_(torch.nan)


def plain_logits(
    plain: PlainLlama, prefix: str, chunks: tuple[str, ...], places: list[int], ids: list[int]
) -> torch.Tensor:
    """Over KV built naively: each chunk's behind the prefix (a token a letter), moved, and `places`
    computed."""
    first = plain.kv(ids[: len(prefix)]) if prefix else None
    parts, at = [first] if first else [], len(prefix)
    for chunk in chunks:
        encoded = plain.kv(ids[at : at + len(chunk)], first)
        parts.append(plain.moved(encoded, at - len(prefix)))
        at += len(chunk)
    kv = joined(*parts, plain.empty(len(ids) - at))
    return plain.compute([ids[place] for place in places], places, kv)


@pytest.mark.parametrize(
    ("plan", "question"), [("reuse", QUESTION), ("reuse", ""), ("lego(5)", "?")]
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_decode_reads_what_plain_attention_reads_over_kv_built_naively(
    every: Any, fused: Any, layout: str, plan: str, question: str
) -> None:
    """All of the question is computed, and of a prompt without one the last two tokens."""
    prefix, chunks = LAYOUTS[layout]
    watched = Watched(every, fused)
    context, places = watched.prefill(plan, prefix, chunks, question)
    num_new, end = max(2, len(question)), context.num_tokens - 1
    assert places[1 - num_new :] == list(range(end + 1 - num_new, end))
    result = watched.driver.decode(context, max_tokens=9, ignore_eos=True)
    tokens = result.outputs[1].ids[context.num_tokens :]
    ids = [*context.ids, *tokens[:-1]]
    at = [*places, *range(context.num_tokens - 1, len(ids))]
    expected = plain_logits(plain_llama(every), prefix, chunks, at, ids)[-len(tokens) :]
    found = watched.logits(context, tokens[:-1])
    if is_bf16(watched.model):
        assert far(found, expected) < 0.05
    else:
        assert far(found, expected) < 1e-4
        assert tokens == expected.argmax(-1).tolist()


def test_a_thousand_links_change_no_byte_of_a_chunk(every: Any, fused: Any) -> None:
    watched = Watched(every, fused, kv_tokens=4096)
    chunks = CHUNKS[1:] * 10

    def digest() -> str:
        return hashlib.sha256(core.kv.export_pages(pages).numpy().tobytes()).hexdigest()

    core = watched.driver.core
    watched.prefill("lego(3)", PREFIX, chunks, "?")
    pages = sorted(core.cache.tree.pages())
    before = digest()
    for i in range(51):
        context, places = watched.prefill("lego(3)", PREFIX, chunks, f" {i}?")
        assert len(places) < context.num_tokens / 2
        context.release()
    assert set(pages) <= set(core.cache.tree.pages())
    assert digest() == before
