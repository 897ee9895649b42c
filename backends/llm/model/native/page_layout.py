"""The numbers of a page of the kernels (see `kv_pool`): words of one float32 or two bfloat16."""

import numpy as np
from numpy.typing import NDArray

from backends.llm.model.config import ModelConfig, bytes_per_token
from backends.llm.model.dtypes import DType, bits_type, dtype_bytes, narrowed, widened
from backends.llm.model.page_layout import Bytes, Floats

_SLOTS = 16  # that lie side by side
_KEYS = (2, 4, 0, 1, 3, 5)  # [L, H, S / 16, D / W, 16, W] to [S / 16, 16, L, H, D / W, W]
_KEYS_BACK = (2, 3, 0, 4, 1, 5)
_VALUES = (2, 3, 5, 0, 1, 4)  # [L, H, S / 16, 16 / W, D, W] to [S / 16, 16 / W, W, L, H, D]
_VALUES_BACK = (3, 4, 0, 1, 5, 2)


class NativePageLayout:
    """`dtype`: float32 or bfloat16, of which a word holds two."""

    def __init__(self, config: ModelConfig, page_size: int, dtype: DType) -> None:
        self._dtype = dtype
        self._per_word = 4 // dtype_bytes(dtype)
        self.num_bytes = bytes_per_token(config, dtype) * page_size
        heads = config.num_kv_heads
        self.shape = (page_size, config.num_layers, 2, heads, config.head_dim)

    def values(self, row: Bytes) -> Floats:
        tokens, layers, _, heads, dim = self.shape
        per_word = self._per_word
        parts = row.view(bits_type(self._dtype)).reshape(layers, 2, -1)
        blocks = layers, heads, tokens // _SLOTS
        keys = parts[:, 0].reshape(*blocks, dim // per_word, _SLOTS, per_word)
        values = parts[:, 1].reshape(*blocks, _SLOTS // per_word, dim, per_word)
        found = np.empty(self.shape, parts.dtype)
        found[:, :, 0] = keys.transpose(_KEYS).reshape(tokens, layers, heads, dim)
        found[:, :, 1] = values.transpose(_VALUES).reshape(tokens, layers, heads, dim)
        return widened(found, self._dtype)

    def row(self, values: Floats) -> Bytes:
        tokens, layers, _, heads, dim = self.shape
        per_word, groups = self._per_word, tokens // _SLOTS
        words: NDArray[np.generic] = narrowed(values, self._dtype)
        keys = words[:, :, 0].reshape(groups, _SLOTS, layers, heads, dim // per_word, per_word)
        pairs = _SLOTS // per_word, per_word
        parts = words[:, :, 1].reshape(groups, *pairs, layers, heads, dim)
        packed = np.empty((layers, 2, tokens * heads * dim), words.dtype)
        packed[:, 0] = keys.transpose(_KEYS_BACK).reshape(layers, -1)
        packed[:, 1] = parts.transpose(_VALUES_BACK).reshape(layers, -1)
        return packed.reshape(-1).view(np.uint8)
