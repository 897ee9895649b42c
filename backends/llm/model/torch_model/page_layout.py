"""The numbers of a page of the torch pool: [L, 2, S, K, D]."""

import numpy as np

from backends.llm.model.dtypes import DType, bits_type, dtype_bytes, narrowed, widened
from backends.llm.model.page_layout import Bytes, Floats


class TorchPageLayout:
    """`shape`: [S, L, 2, K, D]."""

    def __init__(self, shape: tuple[int, int, int, int, int], dtype: DType) -> None:
        self.shape = shape
        self._dtype = dtype
        self.num_bytes = int(np.prod(shape)) * dtype_bytes(dtype)

    def values(self, row: Bytes) -> Floats:
        tokens, layers, parts, heads, dim = self.shape
        bits = row.view(bits_type(self._dtype)).reshape(layers, parts, tokens, heads, dim)
        return widened(np.ascontiguousarray(bits.transpose(2, 0, 1, 3, 4)), self._dtype)

    def row(self, values: Floats) -> Bytes:
        bits = narrowed(values, self._dtype).transpose(1, 2, 0, 3, 4)
        return np.ascontiguousarray(bits).reshape(-1).view(np.uint8)
