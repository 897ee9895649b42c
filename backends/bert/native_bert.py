"""The BERT encoder in one call of the C++ kernels: texts end to end, nothing padded.

A text's rows are computed alone: batch mates change no bit of them. bfloat16 and int16 round the
inputs of products; all activations between are float32.

Shapes: N texts, T tokens of them all, H hidden size.
"""

import ctypes
import threading
import weakref
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from backends.bert.config import BertConfig, Weights, check_tokens
from backends.bert.options import DtypeName
from backends.bert.tokens import TextTokens
from backends.cpu_count import usable_cores
from backends.native.build import build
from backends.native.library import (
    Activation,
    Arena,
    BertConfigStruct,
    BertLayerStruct,
    Format,
    Inputs,
    NormStruct,
    TextsStruct,
    library,
)
from backends.native.packing import Floats, Packed, pack_values

_ACTIVATIONS = {
    "gelu": Activation.GELU,
    "gelu_new": Activation.GELU_TANH,
    "relu": Activation.RELU,
}


_INPUTS = {
    "float32": (Inputs.AS_FLOAT, Format.F32),
    "bfloat16": (Inputs.AS_BF16, Format.BF16),
    "int16": (Inputs.AS_SHORT, Format.SHORTS),
}


def why_not(config: BertConfig, dtype: DtypeName) -> str | None:
    """What keeps the kernels from running this model here; None when nothing does."""
    if library() is None:
        return build().reason
    if dtype not in _INPUTS:
        return f"the kernels have no {dtype}"
    if config.head_dim % 2 or config.intermediate_size % 2:
        return "the model's sizes are odd"
    return None


class NativeBert:
    """Packs the weights; several threads take turns. `isa`: the kernels' instruction set."""

    budget_tokens = 1024  # a tenth of a second or two on two cores, which is what others may wait

    def __init__(
        self,
        config: BertConfig,
        weights: Weights,
        dtype: DtypeName = "float32",
        num_threads: int | None = None,
        isa: str | None = None,
    ) -> None:
        lib = library(isa)
        assert lib is not None, "a native model without kernels"
        self.config = config
        self._lib = lib
        self._lock = threading.Lock()
        self._weights = _Weights(config, weights, dtype)
        self._handle = self._weights.create(lib, num_threads or usable_cores())
        self._finalizer = weakref.finalize(self, lib.teola_bert_free, self._handle)
        self._finalizer.atexit = False  # an engine's thread may be inside a pass then

    def encode(self, texts: Sequence[TextTokens]) -> list[Floats]:
        lengths = [len(text) for text in texts]
        hidden = self._hidden(texts, lengths)
        ends = accumulate(lengths)
        return [hidden[end - length : end] for end, length in zip(ends, lengths, strict=True)]

    def classify(self, texts: Sequence[TextTokens]) -> NDArray[np.float32]:
        lengths = [len(text) for text in texts]
        starts = np.cumsum([0, *lengths], dtype=np.intp)[:-1]
        first = self._hidden(texts, lengths)[starts]  # [N, H], of [CLS]
        pooled = np.tanh(self._multiply(self._weights.pooler, first))
        return self._multiply(self._weights.classifier, pooled)

    def _hidden(self, texts: Sequence[TextTokens], lengths: Sequence[int]) -> Floats:
        """Of all texts, one below the other: [T, H]."""
        hidden = np.empty((sum(lengths), self.config.hidden_size), np.float32)
        check_tokens(self.config, texts)
        if not hidden.size:
            return hidden
        starts = np.cumsum([0, *lengths], dtype=np.int32)
        ids = np.concatenate([text.ids for text in texts])
        types = np.concatenate([text.types for text in texts])
        struct = TextsStruct(
            num_rows=len(hidden),
            num_texts=len(texts),
            starts=starts.ctypes.data,
            ids=ids.ctypes.data,
            types=types.ctypes.data,
            hidden=hidden.ctypes.data,
        )
        with self._lock:
            if self._lib.teola_bert_encode(self._handle, ctypes.byref(struct)):
                raise MemoryError("no memory for a pass's activations")
        return hidden

    def _multiply(self, weights: Packed, rows: Floats) -> Floats:
        out = np.empty((len(rows), weights.n), np.float32)
        rows = np.ascontiguousarray(rows)
        if rows.size:
            args = ctypes.byref(weights.struct), rows.ctypes.data, len(rows), out.ctypes.data
            self._lib.teola_multiply(*args)
        return out


class _Weights:
    """Owns the memory behind the C structures."""

    def __init__(self, config: BertConfig, weights: Weights, dtype: DtypeName) -> None:
        self._config = config
        inputs, self._format = _INPUTS[dtype]
        self._kept: list[Floats] = []
        self._packed: list[Packed] = []
        self._arena = Arena()
        self._tensors = dict(weights)
        self._layers = (BertLayerStruct * config.num_layers)(
            *(self._layer(f"encoder.layer.{i}") for i in range(config.num_layers))
        )
        self._tables = [
            self._keep(f"embeddings.{name}_embeddings.weight")
            for name in ("word", "token_type", "position")
        ]
        self._struct = BertConfigStruct(
            config.num_layers,
            config.hidden_size,
            config.num_heads,
            config.intermediate_size,
            _ACTIVATIONS[config.activation],
            inputs,
            config.layer_norm_eps,
            *(table.ctypes.data for table in self._tables),
            self._norm("embeddings.LayerNorm"),
        )
        if config.num_labels:
            self.pooler = self._head("pooler.dense")
            self.classifier = self._head("classifier")
        self._tensors.clear()

    def create(self, lib: ctypes.CDLL, num_threads: int) -> int:
        handle = lib.teola_bert_create(ctypes.byref(self._struct), self._layers, num_threads)
        if not handle:
            raise MemoryError("no memory for the model's threads")
        return int(handle)

    def _layer(self, name: str) -> BertLayerStruct:
        return BertLayerStruct(
            qkv=self._qkv(f"{name}.attention.self").struct,
            out=self._linear(f"{name}.attention.output.dense").struct,
            attention_norm=self._norm(f"{name}.attention.output.LayerNorm"),
            up=self._linear(f"{name}.intermediate.dense").struct,
            down=self._linear(f"{name}.output.dense").struct,
            mlp_norm=self._norm(f"{name}.output.LayerNorm"),
        )

    def _qkv(self, name: str) -> Packed:
        """Queries, keys and values as one; attention's 1 / sqrt(D) is in the queries."""
        scale = np.float32(self._config.head_dim**-0.5)
        parts = [f"{name}.{part}" for part in ("query", "key", "value")]
        weights = [self._tensors[f"{part}.weight"] for part in parts]
        biases = [self._tensors[f"{part}.bias"] for part in parts]
        weights[0], biases[0] = weights[0] * scale, biases[0] * scale
        return self._pack(weights, np.concatenate(biases))

    def _linear(self, name: str) -> Packed:
        return self._pack([self._tensors[f"{name}.weight"]], self._keep(f"{name}.bias"))

    def _head(self, name: str) -> Packed:
        bias = self._keep(f"{name}.bias")
        return pack_values([self._tensors[f"{name}.weight"]], Format.F32, bias, False)

    def _pack(self, parts: list[Floats], bias: Floats) -> Packed:
        packed = pack_values(parts, self._format, bias, False, self._arena)
        self._packed.append(packed)
        return packed

    def _norm(self, name: str) -> NormStruct:
        weight, bias = self._keep(f"{name}.weight"), self._keep(f"{name}.bias")
        return NormStruct(weight.ctypes.data, bias.ctypes.data)

    def _keep(self, name: str) -> Floats:
        self._kept.append(np.ascontiguousarray(self._tensors[name], np.float32))
        return self._kept[-1]
