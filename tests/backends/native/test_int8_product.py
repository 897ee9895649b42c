"""One int8 product against the same whole numbers in numpy, on every instruction set."""

import ctypes

import gguf
import numpy as np
import pytest

from backends.native.library import Format, library
from backends.native.packing import Blocks, Floats, pack

KINDS = ("Q8_0", "Q4_0", "Q4_1")
SHAPES = ((1, 32, 32), (5, 70, 96), (13, 33, 544), (70, 64, 2112))  # rows, outputs, inputs


class OneMatrix:
    """Random blocks, the largest and the least whole numbers among them."""

    def __init__(self, kind: str, n: int, k: int) -> None:
        rng = np.random.default_rng(n)
        values = rng.normal(0, 0.2, (n, k)).astype(np.float32)
        values[:, ::32] *= 30  # the group's largest: it sets the scale
        rows = gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])
        if kind == "Q8_0":
            rows.reshape(n, k // 32, 34)[:, :, 5] = 0x80  # -128, which no quantiser writes
        self._blocks = Blocks(kind, rows)
        self.weights = gguf.quants.dequantize(rows, gguf.GGMLQuantizationType[kind])

    def values(self, name: str) -> Floats:
        return self.weights

    def blocks(self, name: str) -> Blocks | None:
        return self._blocks


def quantised(x: Floats) -> Floats:
    """As the kernels do it: each group of 32 in steps of its largest / 127, and once more what is
    left of groups whose squared scale is above three means."""
    groups = x.reshape(len(x), -1, 32)
    scale = np.abs(groups).max(-1, keepdims=True) / np.float32(127)
    safe = np.where(scale == 0, 1, scale)
    near = np.rint(groups / safe) * scale
    step = safe / 254
    fine = scale**2 > 3 * (scale**2).mean(1, keepdims=True)
    near += np.where(fine, np.rint((groups - near) / step) * step, 0)
    return near.reshape(x.shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_an_int8_product_is_that_of_its_whole_numbers(
    kind: str, shape: tuple[int, int, int], isa: str
) -> None:
    m, n, k = shape
    source = OneMatrix(kind, n, k)
    packed = pack(source, ["w"], Format.BF16, keep_blocks=True, int8=True)
    rng = np.random.default_rng(1)
    rows = rng.normal(0, 1, (m, k)).astype(np.float32)
    rows[:, 3] *= 40  # an outlier channel, whose group is fine
    rows[-1, -32:] = 0
    out = np.empty((m, n), np.float32)
    lib = library(isa)
    assert lib is not None
    lib.teola_multiply(ctypes.byref(packed.struct), rows.ctypes.data, m, out.ctypes.data)
    inputs, weights = quantised(rows).astype(np.float64), source.weights.astype(np.float64)
    size = np.outer(np.abs(inputs).sum(1), np.abs(weights).max(1))
    assert (np.abs(out - inputs @ weights.T) <= 1e-6 * size).all()
