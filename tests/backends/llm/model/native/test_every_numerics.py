"""A model in each number type, on every instruction set: near float32, and a row has one result,
whatever is computed beside it, adapters included."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import pytest
import random_weights
import torch
from torch import Tensor

from backends.llm.lora.adapter import Delta, LayerDeltas, LoadedAdapter
from backends.llm.model.batch import Span, StepBatch, batch_of
from backends.llm.model.config import ModelConfig
from backends.llm.model.native.native_model import NativeModel
from backends.llm.model.torch_model.llama import LlamaModel
from backends.llm.model.weights import expected_shapes

CONFIG = ModelConfig(
    num_layers=2,
    hidden_size=96,
    intermediate_size=160,
    num_heads=4,
    num_kv_heads=2,
    head_dim=32,
    vocab_size=70,
    max_positions=256,
    rms_eps=1e-5,
    rope_theta=1e4,
)
PAGE, PAGES = 16, 8  # of a text


class Numerics(NamedTuple):
    dtype: torch.dtype
    keeps_blocks: bool
    int8: bool
    allowed: float  # distance of the logits to float32's, of their size


NUMERICS = {
    "float32": Numerics(torch.float32, False, False, 1e-5),
    "bfloat16": Numerics(torch.bfloat16, False, False, 0.05),
    "stored": Numerics(torch.bfloat16, True, False, 0.05),
    "int8": Numerics(torch.bfloat16, True, True, 0.05),
}
WITH_KINDS = [
    ("float32", "Q8_0"),
    ("bfloat16", "Q8_0"),
    *((name, kind) for name in ("stored", "int8") for kind in ("Q8_0", "Q4_0", "Q4_1")),
]


class Part(NamedTuple):
    """Tokens [first, end) of a text, with an adapter or none."""

    text: int
    first: int
    end: int
    adapter: int = -1


class Steps:
    """Runs parts of texts, each text on pages of its own."""

    def __init__(self, model: NativeModel | LlamaModel, adapters: Sequence[LoadedAdapter]) -> None:
        self.model = model
        self.kv = model.make_pool(4 * PAGES, PAGE)
        self.adapters = tuple(adapters)

    def run(self, *parts: Part) -> list[Tensor]:
        """The logits of each part's tokens."""
        batch = batch_of(PAGE, *(_tokens(part) for part in parts))
        logits = self.model.launch(self._adapted(batch, parts), self.kv).collect().logits  # type: ignore[arg-type]
        assert logits is not None
        return list(torch.as_tensor(logits).clone().split([p.end - p.first for p in parts]))

    def _adapted(self, batch: StepBatch, parts: Sequence[Part]) -> StepBatch:
        used = tuple(dict.fromkeys(part.adapter for part in parts if part.adapter >= 0))
        places = [used.index(p.adapter) if p.adapter >= 0 else -1 for p in parts]
        spans = [s._replace(adapter=at) for s, at in zip(batch.spans, places, strict=True)]
        table = batch.span_table.copy()
        table[:, Span._fields.index("adapter")] = places
        adapters = tuple(self.adapters[i] for i in used)
        return replace(batch, spans=spans, span_table=table, adapters=adapters)


def _tokens(part: Part) -> tuple[list[int], int, list[int]]:
    ids = [(7 * part.text + 3 * i * i + i) % CONFIG.vocab_size for i in range(part.end)]
    pages = list(range(part.text * PAGES, part.text * PAGES - (-part.end // PAGE)))
    return ids[part.first :], part.first, pages


def adapter(seed: int, **ranks: int) -> LoadedAdapter:
    """Of some projections, each with a rank: odd ones are filled up in bfloat16."""
    rng = torch.Generator().manual_seed(seed)
    q_rows, kv_rows = 32 * CONFIG.num_heads, 32 * CONFIG.num_kv_heads
    hidden, width = CONFIG.hidden_size, CONFIG.intermediate_size
    sizes = {
        "qkv": (hidden, q_rows + 2 * kv_rows),
        "out": (q_rows, hidden),
        "gate_up": (hidden, 2 * width),
        "down": (width, hidden),
    }
    layers = tuple(
        LayerDeltas(
            **{
                name: Delta(
                    0.2 * torch.randn(rank, sizes[name][0], generator=rng),
                    0.2 * torch.randn(sizes[name][1], rank, generator=rng),
                )
                for name, rank in ranks.items()
            }
        )
        for _ in range(CONFIG.num_layers)
    )
    return LoadedAdapter(layers, str(seed))


ADAPTERS = (adapter(0, qkv=3, out=2, gate_up=5, down=4), adapter(1, qkv=8, down=1))


def native(numerics: str, kind: str, isa: str) -> Steps:
    dtype, keeps_blocks, int8, _ = NUMERICS[numerics]
    weights = random_weights.RandomWeights(CONFIG, kind, is_exact=True)
    return Steps(NativeModel(CONFIG, weights, dtype, keeps_blocks, 2, isa, int8), ADAPTERS)


def reference(kind: str) -> Steps:
    weights = random_weights.RandomWeights(CONFIG, kind, is_exact=True)
    tensors = {name: torch.from_numpy(weights.values(name)) for name in expected_shapes(CONFIG)}
    return Steps(LlamaModel(CONFIG, tensors), ADAPTERS)


@pytest.mark.parametrize(("numerics", "kind"), WITH_KINDS)
def test_logits_are_near_those_of_float32_with_an_adapter_and_without(
    numerics: str, kind: str, isa: str
) -> None:
    steps, exact = native(numerics, kind, isa), reference(kind)
    found, wanted = {}, {}
    for number in (-1, 0, 1):
        part = Part(0, 0, 90, number)
        (found[number],), (wanted[number],) = steps.run(part), exact.run(part)
        distance = float((found[number] - wanted[number]).norm() / wanted[number].norm())
        assert distance < NUMERICS[numerics].allowed, number
    for number in (0, 1):  # an adapter changes far more than rounding does
        assert float((found[number] - found[-1]).norm() / found[-1].norm()) > 0.2


@pytest.mark.parametrize(("numerics", "kind"), WITH_KINDS)
def test_rows_have_the_same_bits_alone_in_a_batch_and_in_chunks_whoever_has_an_adapter(
    numerics: str, kind: str, isa: str
) -> None:
    whole = [Part(0, 0, 90, 0), Part(1, 0, 1, -1), Part(2, 0, 67, 1), Part(3, 0, 33, -1)]
    steps = native(numerics, kind, isa)
    alone = [steps.run(part)[0] for part in whole]
    for found, wanted in zip(steps.run(*whole), alone, strict=True):
        assert torch.equal(found, wanted)
    at = 0
    for end in (1, 2, 17, 20, 31, 33):  # chunks of three texts side by side
        parts = [part._replace(first=at, end=end) for part in whole if part.end > 1]
        for part, found in zip(parts, steps.run(*parts), strict=True):
            assert torch.equal(found, alone[part.text][at:end]), part
        at = end
