"""4-bit and 8-bit weights stay as the file has them: products over them lose nothing."""

import ctypes
import random
from dataclasses import replace

import gguf
import numpy as np
import pytest
import torch

from backends.llm.lora.adapter import Delta, LayerDeltas, LoadedAdapter
from backends.llm.model.batch import batch_of
from backends.llm.model.config import ModelConfig
from backends.llm.model.native.native_model import NativeModel
from backends.llm.model.weights import expected_shapes
from backends.native.library import Arena, Format, library
from backends.native.packing import Blocks, Floats, pack_values


@pytest.fixture(autouse=True)
def on_every_set(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEOLA_ISA", isa)


CONFIG = ModelConfig(
    num_layers=2,
    hidden_size=96,
    intermediate_size=160,
    num_heads=4,
    num_kv_heads=2,
    head_dim=32,
    vocab_size=83,
    max_positions=256,
    rms_eps=1e-5,
    rope_theta=10000.0,
    tied_embeddings=True,
)
KINDS = ("Q8_0", "Q4_0", "Q4_1")


class Quantised:
    """Random weights as GGUF blocks; with `rounded`, values that bfloat16 holds exactly."""

    def __init__(self, kind: str) -> None:
        rng = np.random.default_rng(0)
        self.stored: dict[str, Blocks] = {}
        self.plain: dict[str, Floats] = {}
        for name, shape in expected_shapes(CONFIG).items():
            values = rng.normal(0, 0.2, shape).astype(np.float32)
            if len(shape) == 1:
                self.plain[name] = values + 1
                continue
            rows = gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])
            self.stored[name] = Blocks(kind, rows)
            self.plain[name] = gguf.quants.dequantize(rows, gguf.GGMLQuantizationType[kind])

    def values(self, name: str) -> Floats:
        return self.plain[name]

    def blocks(self, name: str) -> Blocks | None:
        return self.stored.get(name)


def logits_of(
    model: NativeModel, tokens: list[int], adapter: LoadedAdapter | None = None
) -> torch.Tensor:
    kv = model.make_pool(8, 16)
    batch = batch_of(16, (tokens, 0, list(range(-(-len(tokens) // 16)))))
    if adapter is not None:
        batch.span_table[:, 4] = 0
        spans = [span._replace(adapter=0) for span in batch.spans]
        batch = replace(batch, spans=spans, adapters=(adapter,))
    logits = model.launch(batch, kv).collect().logits
    assert logits is not None
    return torch.tensor(logits)


@pytest.mark.parametrize("kind", KINDS)
def test_stored_weights_are_at_least_as_good_as_bfloat16_ones(kind: str) -> None:
    source = Quantised(kind)
    rng = random.Random(0)
    tokens = [rng.randrange(CONFIG.vocab_size) for _ in range(100)]
    exact = logits_of(NativeModel(CONFIG, source, torch.float32, False, 1), tokens)
    stored = logits_of(NativeModel(CONFIG, source, torch.bfloat16, True, 1), tokens)
    full = logits_of(NativeModel(CONFIG, source, torch.bfloat16, False, 1), tokens)
    assert float((stored - exact).norm() / exact.norm()) < 0.03
    assert float((stored - exact).norm()) < 1.1 * float((full - exact).norm())


@pytest.mark.parametrize("kind", KINDS)
def test_int8_products_are_close_to_float32(kind: str, isa: str) -> None:
    source = Quantised(kind)
    rng = random.Random(0)
    tokens = [rng.randrange(CONFIG.vocab_size) for _ in range(100)]
    exact = logits_of(NativeModel(CONFIG, source, torch.float32, False, 1), tokens)
    int8 = NativeModel(CONFIG, source, torch.bfloat16, True, 1, isa, int8=True)
    assert 0 < float((logits_of(int8, tokens) - exact).norm() / exact.norm()) < 0.08


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_do_not_depend_on_how_many_stand_beside_them(kind: str, int8: bool, isa: str) -> None:
    model = NativeModel(CONFIG, Quantised(kind), torch.bfloat16, True, 2, isa, int8=int8)
    rng = random.Random(1)
    tokens = [rng.randrange(CONFIG.vocab_size) for _ in range(100)]
    whole = logits_of(model, tokens)
    for num_tokens in (1, 2, 5, 12, 13, 23, 24, 25, 64):
        assert torch.equal(logits_of(model, tokens[:num_tokens]), whole[:num_tokens])


@pytest.mark.parametrize("kind", KINDS)
def test_int8_chunks_batch_mates_and_cached_prefixes_change_no_bit(kind: str, isa: str) -> None:
    model = NativeModel(CONFIG, Quantised(kind), torch.bfloat16, True, 2, isa, int8=True)
    rng = random.Random(2)
    texts = [[rng.randrange(CONFIG.vocab_size) for _ in range(n)] for n in (90, 33, 1)]
    alone = [logits_of(model, text) for text in texts]
    kv = model.make_pool(16, 16)
    pages = [list(range(6)), list(range(6, 9)), [9]]
    ends = [[30, 31, 47, 90], [33], [1]]
    begun = [0, 0, 0]
    for step in range(4):
        turns = [i for i in range(3) if step < len(ends[i])]
        runs = [(texts[i][begun[i] : ends[i][step]], begun[i], pages[i]) for i in turns]
        found = model.launch(batch_of(16, *runs), kv).collect().logits
        assert found is not None
        logits = torch.tensor(found)
        for i in turns:
            part = alone[i][begun[i] : ends[i][step]]
            assert torch.equal(logits[: len(part)], part)
            logits, begun[i] = logits[len(part) :], ends[i][step]


def test_an_adapter_reads_what_int8_products_read(isa: str) -> None:
    source = Quantised("Q4_1")
    tokens = random.Random(3).choices(range(CONFIG.vocab_size), k=40)
    sizes = (96, 256), (128, 96), (96, 320), (160, 96)  # of qkv, out, gate_up, down
    torch.manual_seed(0)
    deltas = [Delta(torch.randn(4, k) * 0.1, torch.randn(n, 4) * 0.1) for k, n in sizes]
    adapter = LoadedAdapter((LayerDeltas(*deltas),) * CONFIG.num_layers, "digest")
    exact_model = NativeModel(CONFIG, source, torch.float32, False, 1, isa)
    plain, exact = (logits_of(exact_model, tokens, one) for one in (None, adapter))
    int8_model = NativeModel(CONFIG, source, torch.bfloat16, True, 1, isa, int8=True)
    found = logits_of(int8_model, tokens, adapter)
    assert float((exact - plain).norm() / exact.norm()) > 0.2
    assert float((found - exact).norm() / exact.norm()) < 0.08


@pytest.mark.parametrize("int8", [False, True])
def test_stored_weights_take_their_file_size(int8: bool) -> None:
    sizes = {}
    for kind in KINDS:
        model = NativeModel(CONFIG, Quantised(kind), torch.bfloat16, True, 1, int8=int8)
        sizes[kind] = model.weight_bytes
    full = NativeModel(CONFIG, Quantised("Q8_0"), torch.bfloat16, False, 1).weight_bytes
    assert sizes["Q4_1"] == sizes["Q4_0"] == full * 5 // 16
    assert sizes["Q8_0"] == full * 17 // 32


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_an_embedding_row_is_read_back_exactly(kind: str, int8: bool) -> None:
    """One layer-free check: the packed panel holds what the file holds, element by element."""
    from backends.native.library import Format
    from backends.native.packing import pack

    source = Quantised(kind)
    name = "model.embed_tokens.weight"
    packed = pack(source, [name], Format.BF16, keep_blocks=True, int8=int8)
    lib = library()
    assert lib is not None
    out = np.empty((CONFIG.vocab_size, CONFIG.hidden_size), np.float32)
    for row in range(CONFIG.vocab_size):
        lib.teola_unpack(ctypes.byref(packed.struct), row, out[row].ctypes.data)
    assert np.allclose(out, source.values(name), rtol=1e-6, atol=1e-6)


def test_matrices_of_an_arena_lie_side_by_side_on_cache_lines() -> None:
    arena, w = Arena(), np.ones((33, 40), np.float32)
    packed = [pack_values([w], Format.F32, None, False, arena) for _ in range(9)]
    at = [one.data.ctypes.data for one in packed]
    size = packed[0].data.nbytes
    assert at == [at[0] + i * -(-size // 64) * 64 for i in range(9)]
    assert at[0] % 4096 == 0


def test_an_arena_gives_zeros_however_much_is_asked_for() -> None:
    arena = Arena()
    parts = [arena.zeroed(size) for size in (1, 100, 33 << 20, 5)]
    assert [len(part) for part in parts] == [1, 100, 33 << 20, 5]
    assert not any(part.any() for part in parts)
    for i, part in enumerate(parts):
        part[:] = i + 1  # none lies over another
    assert all((part == i + 1).all() for i, part in enumerate(parts))
