"""The C functions of `kernels/` and their structures. Calls release the interpreter lock."""

import ctypes
import functools
import mmap
from ctypes import POINTER, Structure, c_float, c_int32, c_int64, c_void_p
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from backends.native.build import build

Bytes = NDArray[np.uint8]


class Format(IntEnum):
    """How a weight matrix is packed."""

    F32 = 0
    BF16 = 1
    Q8 = 2  # GGUF Q8_0
    Q4 = 3  # GGUF Q4_0 and Q4_1
    Q8_INT8 = 4  # the same blocks, for inputs quantised to 8 bits
    Q4_INT8 = 5
    SHORTS = 6  # int16, with one scale an output feature


class LinearStruct(Structure):
    _fields_ = (
        ("format", c_int32),
        ("n", c_int32),
        ("k", c_int32),
        ("data", c_void_p),
        ("bias", c_void_p),
    )


class ConfigStruct(Structure):
    _fields_ = (
        ("num_layers", c_int32),
        ("hidden", c_int32),
        ("num_heads", c_int32),
        ("num_kv_heads", c_int32),
        ("head_dim", c_int32),
        ("width", c_int32),
        ("vocab", c_int32),
        ("is_bf16", c_int32),
        ("eps", c_float),
    )


class LayerStruct(Structure):
    _fields_ = (
        ("attention_norm", c_void_p),
        ("qkv", LinearStruct),
        ("out", LinearStruct),
        ("mlp_norm", c_void_p),
        ("gate_up", LinearStruct),
        ("down", LinearStruct),
    )


class StepStruct(Structure):
    _fields_ = (
        ("num_rows", c_int32),
        ("num_spans", c_int32),
        ("num_logits", c_int32),
        ("page_size", c_int32),
        ("tokens", c_void_p),
        ("positions", c_void_p),
        ("spans", c_void_p),
        ("pages", c_void_p),
        ("logit_rows", c_void_p),
        ("cos", c_void_p),
        ("sin", c_void_p),
        ("kv", c_void_p),
        ("num_pages", c_int64),
        ("logits", c_void_p),
        ("adapters", c_void_p),
        ("logit_places", c_void_p),
        ("likeliest", c_void_p),
        ("stop_layer", c_int32),
        ("num_looks", c_int32),
        ("looks", c_void_p),
    )


class LookStruct(Structure):
    _fields_ = (
        ("span", c_int32),
        ("start", c_int32),
        ("end", c_int32),
        ("first_layer", c_int32),
        ("end_layer", c_int32),
        ("mass", c_void_p),
    )


class LinkStruct(Structure):
    _fields_ = (
        ("kv", c_void_p),
        ("num_pages", c_int64),
        ("num_layers", c_int32),
        ("num_kv_heads", c_int32),
        ("head_dim", c_int32),
        ("page_size", c_int32),
        ("pages", c_void_p),
        ("to_pages", c_void_p),
        ("first", c_int32),
        ("to", c_int32),
        ("num_tokens", c_int32),
        ("cos", c_void_p),
        ("sin", c_void_p),
    )


class DeltaStruct(Structure):
    _fields_ = (("a", LinearStruct), ("b", LinearStruct))


class Activation(IntEnum):
    """Of a BERT's MLP: numbers of `Ending` in `product.h`."""

    RELU = 4
    GELU = 5
    GELU_TANH = 6


class Inputs(IntEnum):
    """How a BERT's products read their inputs: `Inputs` in `bert.h`."""

    AS_FLOAT = 0
    AS_BF16 = 1
    AS_SHORT = 2


class NormStruct(Structure):
    _fields_ = (("weight", c_void_p), ("bias", c_void_p))


class BertConfigStruct(Structure):
    _fields_ = (
        ("num_layers", c_int32),
        ("hidden", c_int32),
        ("num_heads", c_int32),
        ("width", c_int32),
        ("activation", c_int32),
        ("inputs", c_int32),
        ("eps", c_float),
        ("words", c_void_p),
        ("types", c_void_p),
        ("positions", c_void_p),
        ("norm", NormStruct),
    )


class BertLayerStruct(Structure):
    _fields_ = (
        ("qkv", LinearStruct),
        ("out", LinearStruct),
        ("attention_norm", NormStruct),
        ("up", LinearStruct),
        ("down", LinearStruct),
        ("mlp_norm", NormStruct),
    )


class TextsStruct(Structure):
    _fields_ = (
        ("num_rows", c_int32),
        ("num_texts", c_int32),
        ("starts", c_void_p),
        ("ids", c_void_p),
        ("types", c_void_p),
        ("hidden", c_void_p),
    )


def library(isa: str | None = None) -> ctypes.CDLL | None:
    """Of one instruction set, or of the default one; several may be loaded at once. None where it
    cannot be built: `build(isa).reason` says why."""
    lib = build(isa).library
    return None if lib is None else _declared(lib)


@functools.cache
def _declared(lib: ctypes.CDLL) -> ctypes.CDLL:
    lib.teola_features.restype = c_int32
    lib.teola_packed_bytes.restype = c_int64
    lib.teola_packed_bytes.argtypes = (c_int32, c_int64, c_int64)
    lib.teola_advise.restype = None
    lib.teola_advise.argtypes = (c_void_p, c_int64)
    lib.teola_pack.restype = None
    lib.teola_pack.argtypes = (c_int32, c_int64, c_int64, c_void_p, c_int64, c_int32, c_void_p)
    lib.teola_pack_blocks.restype = None
    lib.teola_pack_blocks.argtypes = (
        *(c_int32, c_int32, c_int64, c_int64),
        *(c_void_p, c_int64, c_int32, c_void_p),
    )
    lib.teola_unpack.restype = None
    lib.teola_unpack.argtypes = (POINTER(LinearStruct), c_int32, c_void_p)
    lib.teola_model_create.restype = c_void_p
    lib.teola_model_create.argtypes = (
        *(POINTER(ConfigStruct), POINTER(LayerStruct), c_void_p),
        *(POINTER(LinearStruct), POINTER(LinearStruct), c_int32),
    )
    lib.teola_model_free.restype = None
    lib.teola_model_free.argtypes = (c_void_p,)
    lib.teola_forward.restype = c_int32
    lib.teola_forward.argtypes = (c_void_p, POINTER(StepStruct))
    lib.teola_link.restype = c_int32
    lib.teola_link.argtypes = (c_void_p, POINTER(LinkStruct))
    lib.teola_bert_create.restype = c_void_p
    lib.teola_bert_create.argtypes = (POINTER(BertConfigStruct), POINTER(BertLayerStruct), c_int32)
    lib.teola_bert_free.restype = None
    lib.teola_bert_free.argtypes = (c_void_p,)
    lib.teola_bert_encode.restype = c_int32
    lib.teola_bert_encode.argtypes = (c_void_p, POINTER(TextsStruct))
    lib.teola_multiply.restype = None
    lib.teola_multiply.argtypes = (POINTER(LinearStruct), c_void_p, c_int32, c_void_p)
    return lib


def has_bfloat16(isa: str | None = None) -> bool:
    """Whether the set has such products itself."""
    lib = library(isa)
    return lib is not None and bool(lib.teola_features() & 1)


def zeroed(num_bytes: int) -> Bytes:
    """Memory on a page boundary, as the kernels' aligned loads want it; none of it is taken before
    it is written."""
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # shared memory gets no huge pages
    memory = np.frombuffer(mmap.mmap(-1, max(1, num_bytes), flags=private), np.uint8)
    lib = library()
    assert lib is not None, "memory for kernels that cannot run"
    lib.teola_advise(memory.ctypes.data, num_bytes)
    return memory


class Arena:
    """Memory as of `zeroed` that lies side by side, in the order it is asked for: what is smaller
    than a huge page gets a share of one. All of it lives as long as any of it."""

    _CHUNK = 32 << 20

    def __init__(self) -> None:
        self._left = np.empty(0, np.uint8)

    def zeroed(self, num_bytes: int) -> Bytes:
        size = -(-num_bytes // 64) * 64
        if size > len(self._left):
            self._left = zeroed(max(size, self._CHUNK))
        taken, self._left = self._left[:num_bytes], self._left[size:]
        return taken
