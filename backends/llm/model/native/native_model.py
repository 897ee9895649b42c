"""Llama and Qwen2 forward over a ragged batch in one call of the C++ kernels.

Rows are computed alone: batching, chunking and caching change no bit of a row's logits. `bfloat16`
rounds the inputs of products, keys and values; sums and all activations between are float32. int8
products quantise their inputs in groups of 32 instead and multiply the file's blocks.
"""

import ctypes
import weakref
from typing import Any

import numpy as np

from backends.cpu_count import usable_cores
from backends.llm.lora.adapter import LoadedAdapter
from backends.llm.model.batch import Ints, StepBatch, StepOutput
from backends.llm.model.config import ModelConfig
from backends.llm.model.dtypes import DType, dtype_name
from backends.llm.model.native.adapters import PackedAdapters
from backends.llm.model.native.kv_pool import NativeKVPool
from backends.llm.model.rope import Angles, angle_table, frequencies
from backends.llm.model.step_model import Done
from backends.llm.model.weights import ROPE_FACTORS
from backends.native.build import build
from backends.native.library import (
    Arena,
    ConfigStruct,
    Format,
    LayerStruct,
    LinkStruct,
    LookStruct,
    StepStruct,
    library,
)
from backends.native.packing import GROUP, Floats, Packed, WeightSource, pack
from backends.native.version import kernel_version

_FIRST_ANGLES = 2048


def why_not(config: ModelConfig, page_size: int) -> str | None:
    """What keeps the kernels from running this model here; None when nothing does."""
    if library() is None:
        return build().reason
    if page_size % 16:
        return f"page_size {page_size} is no multiple of 16"
    if config.head_dim % 16 or config.hidden_size % 2 or config.intermediate_size % 16:
        return "the model's sizes are no multiples of 16"
    return None


class NativeModel:
    """Packs the weights of `source`. `keep_blocks`: 4-bit and 8-bit weights stay as the file has
    them (bfloat16 only). `int8`: products with kept weights are in whole numbers. `isa`: the
    kernels' instruction set. Not thread safe."""

    device = "cpu"

    def __init__(
        self,
        config: ModelConfig,
        source: WeightSource,
        dtype: DType,
        keep_blocks: bool = True,
        num_threads: int | None = None,
        isa: str | None = None,
        int8: bool = False,
    ) -> None:
        lib = library(isa)
        dtype = dtype_name(dtype)
        assert not int8 or (dtype == "bfloat16" and keep_blocks), "int8 products need blocks"
        assert lib is not None, "a native model without kernels"
        self.config = config
        self.dtype = dtype
        self._lib = lib
        self._numerics = f"{build(isa).isa} {'blocks' if keep_blocks else 'full'}"
        self.frequencies = frequencies(config, _rope_factors(source))  # [D / 2]
        self._cos, self._sin = angle_table(self.frequencies, _FIRST_ANGLES)  # [P, D / 2] each
        self._tokens: Ints = np.empty(0, np.int64)
        self._places = np.empty(0, np.int32)
        self._logits = np.empty((0, config.vocab_size), np.float32)
        self._step = StepStruct(  # this and the arrays above are kept between steps
            cos=self._cos.ctypes.data, sin=self._sin.ctypes.data
        )
        self._bound: Any = None  # whose arrays the structure points at
        self._adapters = PackedAdapters(Format.BF16 if dtype == "bfloat16" else Format.F32)
        self._weights = _Weights(config, source, dtype, keep_blocks, int8)
        self._handle = self._weights.create(lib, num_threads or usable_cores())
        self._finalizer = weakref.finalize(self, lib.teola_model_free, self._handle)
        self._finalizer.atexit = False  # the engine's thread may be inside a step then

    @property
    def weight_bytes(self) -> int:
        return self._weights.num_bytes

    @property
    def layout(self) -> str:
        """Bytes lie alike in all instruction sets, but each rounds in its own way."""
        return f"kernels {self._numerics} {self.dtype} @ {kernel_version()}"

    def make_pool(self, num_pages: int, page_size: int) -> NativeKVPool:
        """The KV memory this model reads and writes."""
        return NativeKVPool(self.config, num_pages, page_size, self.dtype)

    def adapter_bytes(self, adapter: LoadedAdapter) -> int:
        """The adapter and its panels, which are made now if need be."""
        return adapter.num_bytes + self._adapters.num_bytes(adapter)

    def launch(self, batch: StepBatch, kv: NativeKVPool) -> Done:
        """Run a step; its tokens and logits are good until the next one."""
        assert int(batch.tokens.max()) < self.config.vocab_size, "a token without a row"
        num_wanted, num_logits = len(batch.wanted), len(batch.with_logits)
        self._grow_angles(max([span.num_keys for span in batch.spans]))
        self._grow_output(num_wanted, num_logits)
        self._bind(batch, kv)
        self._places[:num_wanted] = -1
        self._places[batch.with_logits] = np.arange(num_logits)
        step = self._step
        step.num_rows, step.num_spans = len(batch.tokens), len(batch.spans)
        step.num_logits = num_wanted
        stop, layers = batch.stop_layer, self.config.num_layers
        step.stop_layer = layers if stop is None else stop
        masses = self._watch(batch)
        if self._lib.teola_forward(self._handle, ctypes.byref(step)):
            raise MemoryError("no memory for a step's activations")
        logits = self._logits[:num_logits] if num_logits else None
        return Done(StepOutput(self._tokens[:num_wanted], logits, masses))

    def read(
        self, kv: NativeKVPool, layer: int, pages: list[int], first: int, num_tokens: int
    ) -> tuple[Floats, Floats]:
        """Keys and values [T, K, D] of tokens `first` on."""
        return kv.read(layer, pages, first, num_tokens)

    def _watch(self, batch: StepBatch) -> tuple[Floats, ...]:
        """Where the kernels add up the attention that is wanted."""
        masses = [np.zeros(batch.spans[watch.span].num_keys, np.float32) for watch in batch.watches]
        looks = (LookStruct * len(masses))(
            *(
                LookStruct(*watch, mass.ctypes.data)
                for watch, mass in zip(batch.watches, masses, strict=True)
            )
        )
        self._looks = looks  # alive while the kernels read it
        self._step.num_looks, self._step.looks = len(masses), ctypes.addressof(looks)
        return tuple(masses)

    def link(
        self,
        kv: NativeKVPool,
        pages: list[int],
        first: int,
        to_pages: list[int],
        to: int,
        num_tokens: int,
    ) -> None:
        """Copy tokens' KV to other places, keys turned by as many."""
        self._grow_angles(max(first, to) + num_tokens)
        lists = np.array(pages, np.int32), np.array(to_pages, np.int32)
        what = LinkStruct(
            kv=kv.pages.ctypes.data,
            num_pages=kv.num_pages,
            num_layers=self.config.num_layers,
            num_kv_heads=self.config.num_kv_heads,
            head_dim=self.config.head_dim,
            page_size=kv.page_size,
            pages=lists[0].ctypes.data,
            to_pages=lists[1].ctypes.data,
            first=first,
            to=to,
            num_tokens=num_tokens,
            cos=self._cos.ctypes.data,
            sin=self._sin.ctypes.data,
        )
        if self._lib.teola_link(self._handle, ctypes.byref(what)):
            raise MemoryError("no memory to link keys and values")

    def _bind(self, batch: StepBatch, kv: NativeKVPool) -> None:
        """Point the structure at the step's arrays. A builder's stay where they are, so that this
        is rarely more than a look; only adapters are of the step."""
        step = self._step
        if batch.adapters:
            addresses = [self._adapters.address(adapter) for adapter in batch.adapters]
            self._addresses = np.array(addresses, np.int64)  # alive while the kernels read it
            step.adapters = self._addresses.ctypes.data
        if batch.tokens.base is not None and self._bound is batch.tokens.base:
            return
        self._bound = batch.tokens.base
        step.page_size = kv.page_size
        step.tokens = batch.tokens.ctypes.data
        step.positions = batch.positions.ctypes.data
        step.spans = batch.span_table.ctypes.data
        step.pages = batch.page_rows.flat.ctypes.data
        step.logit_rows = batch.wanted.ctypes.data
        step.kv = kv.pages.ctypes.data
        step.num_pages = kv.num_pages

    def _grow_output(self, num_wanted: int, num_logits: int) -> None:
        if num_wanted > len(self._tokens):
            self._tokens = np.empty(num_wanted, np.int64)  # [W]
            self._places = np.empty(num_wanted, np.int32)  # [W]: rows of the logits, or -1
            self._step.likeliest = self._tokens.ctypes.data
            self._step.logit_places = self._places.ctypes.data
        if num_logits > len(self._logits):
            self._logits = np.empty((num_logits, self.config.vocab_size), np.float32)  # [R, V]
            self._step.logits = self._logits.ctypes.data

    def _grow_angles(self, num_positions: int) -> None:
        if num_positions > len(self._cos):
            self._cos, self._sin = angle_table(self.frequencies, 2 * num_positions)
            self._step.cos, self._step.sin = self._cos.ctypes.data, self._sin.ctypes.data


class _Weights:
    """Owns the memory behind the C structures."""

    def __init__(
        self,
        config: ModelConfig,
        source: WeightSource,
        dtype: str,
        keep_blocks: bool,
        int8: bool,
    ) -> None:
        self._config = config
        self._source = source
        self._full = Format.BF16 if dtype == "bfloat16" else Format.F32
        self._keep_blocks = keep_blocks and dtype == "bfloat16"
        self._int8 = int8
        self._packed: list[Packed] = []
        self._arena = Arena()
        self._norms: list[Floats] = []
        self._is_bf16 = dtype == "bfloat16"

    @property
    def num_bytes(self) -> int:
        return sum(packed.data.nbytes for packed in self._packed)

    def create(self, lib: ctypes.CDLL, num_threads: int) -> int:
        config = self._config
        layers = (LayerStruct * config.num_layers)(
            *(self._layer(i) for i in range(config.num_layers))
        )
        embedding = self._pack(["model.embed_tokens.weight"])
        head = embedding if config.tied_embeddings else self._pack(["lm_head.weight"])
        handle = lib.teola_model_create(
            ctypes.byref(
                ConfigStruct(
                    config.num_layers,
                    config.hidden_size,
                    config.num_heads,
                    config.num_kv_heads,
                    config.head_dim,
                    config.intermediate_size,
                    config.vocab_size,
                    self._is_bf16,
                    config.rms_eps,
                )
            ),
            layers,
            self._vector("model.norm.weight"),
            ctypes.byref(head.struct),
            ctypes.byref(embedding.struct),
            num_threads,
        )
        del self._source  # a mapped file counts as memory of this process
        if not handle:
            raise MemoryError("no memory for the model's threads")
        return int(handle)

    @property
    def _heads_fill_groups(self) -> bool:
        """Attention quantises a head's outputs alone."""
        return self._config.head_dim % GROUP == 0

    def _layer(self, i: int) -> LayerStruct:
        prefix = f"model.layers.{i}."
        qkv = [f"{prefix}self_attn.{name}_proj" for name in "qkv"]
        bias = None
        if self._config.qkv_bias:
            bias = np.concatenate([self._source.values(f"{name}.bias") for name in qkv])
        mlp = [f"{prefix}mlp.{name}_proj.weight" for name in ("gate", "up")]
        return LayerStruct(
            attention_norm=self._vector(f"{prefix}input_layernorm.weight"),
            qkv=self._pack([f"{name}.weight" for name in qkv], bias).struct,
            out=self._pack(
                [f"{prefix}self_attn.o_proj.weight"], int8=self._heads_fill_groups
            ).struct,
            mlp_norm=self._vector(f"{prefix}post_attention_layernorm.weight"),
            gate_up=self._pack(mlp, interleave=True).struct,
            down=self._pack([f"{prefix}mlp.down_proj.weight"]).struct,
        )

    def _pack(
        self,
        names: list[str],
        bias: Floats | None = None,
        interleave: bool = False,
        int8: bool = True,
    ) -> Packed:
        kept = self._keep_blocks, bias, interleave, self._int8 and int8
        packed = pack(self._source, names, self._full, *kept, self._arena)
        self._packed.append(packed)
        return packed

    def _vector(self, name: str) -> int:
        self._norms.append(np.array(self._source.values(name), np.float32, order="C"))  # a copy
        return int(self._norms[-1].ctypes.data)


def _rope_factors(source: WeightSource) -> Angles | None:
    try:
        return source.values(ROPE_FACTORS).copy()
    except KeyError:
        return None
