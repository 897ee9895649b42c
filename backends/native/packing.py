"""Weight matrices in the kernels' panels, packed from float32 rows or from GGUF's own blocks."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from backends.native.library import Arena, Bytes, Format, LinearStruct, library, zeroed

GROUP = 32  # weights, and quantised inputs, that share a scale
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix as its GGUF file stores it: uint8 [N, bytes a row] of type Q8_0, Q4_0 or Q4_1."""

    kind: str
    rows: Bytes

    def format(self, int8: bool) -> Format:
        if self.kind == "Q8_0":
            return Format.Q8_INT8 if int8 else Format.Q8
        return Format.Q4_INT8 if int8 else Format.Q4


class WeightSource(Protocol):
    """Weights of a model on disk by Hugging Face name."""

    def values(self, name: str) -> Floats:
        """Dequantised."""

    def blocks(self, name: str) -> Blocks | None:
        """As stored, where the kernels can compute on it."""


@dataclass(frozen=True, slots=True)
class Packed:
    """One matrix [N, K], K inputs to N outputs. Holds the memory that `struct` points to."""

    format: Format
    n: int
    k: int
    data: Bytes
    bias: Floats | None = None

    @property
    def struct(self) -> LinearStruct:
        bias = None if self.bias is None else self.bias.ctypes.data
        return LinearStruct(self.format, self.n, self.k, self.data.ctypes.data, bias)


def pack(
    source: WeightSource,
    names: Sequence[str],
    full: Format,
    keep_blocks: bool,
    bias: Floats | None = None,
    interleave: bool = False,
    int8: bool = False,
    arena: Arena | None = None,
) -> Packed:
    """Matrices that read the same input as one. Stored blocks are kept when all parts have the same
    kind; otherwise the values are packed as `full`. `interleave`: two parts in turns of 16 rows.
    `int8`: blocks for inputs that are quantised too. `arena`: whose memory it takes."""
    stored = [source.blocks(name) if keep_blocks else None for name in names]
    formats = {part.format(int8) for part in stored if part is not None}
    if None in stored or len(formats) != 1:
        return pack_values([source.values(name) for name in names], full, bias, interleave, arena)
    kept = [part for part in stored if part]
    return _pack_blocks(kept, formats.pop(), bias, interleave, arena)


def pack_values(
    parts: list[Floats],
    form: Format,
    bias: Floats | None,
    interleave: bool,
    arena: Arena | None = None,
) -> Packed:
    """Float32 matrices [N, K] of the same K, one below the other, as one."""
    k = parts[0].shape[1]
    packed = _empty(form, sum(len(part) for part in parts), k, bias, arena)
    at = 0
    for i, part in enumerate(parts):
        rows = np.ascontiguousarray(part, np.float32)
        place = (16 * i, 2) if interleave else (at, 1)
        _lib().teola_pack(form, len(rows), k, rows.ctypes.data, *place, packed.data.ctypes.data)
        at += len(rows)
    return packed


def _pack_blocks(
    parts: list[Blocks], form: Format, bias: Floats | None, interleave: bool, arena: Arena | None
) -> Packed:
    per_row = parts[0].rows.shape[1]
    block = {"Q8_0": 34, "Q4_0": 18, "Q4_1": 20}[parts[0].kind]
    k = per_row // block * 32
    packed = _empty(form, sum(len(part.rows) for part in parts), k, bias, arena)
    at = 0
    for i, part in enumerate(parts):
        rows = np.ascontiguousarray(part.rows)
        place = (16 * i, 2) if interleave else (at, 1)
        _lib().teola_pack_blocks(
            *(form, part.kind == "Q4_0", len(rows), k),
            *(rows.ctypes.data, *place, packed.data.ctypes.data),
        )
        at += len(rows)
    return packed


def _empty(form: Format, n: int, k: int, bias: Floats | None, arena: Arena | None) -> Packed:
    make = zeroed if arena is None else arena.zeroed
    return Packed(form, n, k, make(_lib().teola_packed_bytes(form, n, k)), bias)


def _lib() -> ctypes.CDLL:
    lib = library()
    assert lib is not None, "packing without kernels"
    return lib
