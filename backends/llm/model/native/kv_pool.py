"""The memory of keys and values as the kernels read it.

[L, 2, P, bytes of a page]; inside a page, for each KV head and each 16 slots, keys lie transposed
[D, 16] and values [16, D] (bfloat16: two neighbours of the reduced dimension side by side).
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backends.llm.model.config import ModelConfig, bytes_per_token
from backends.llm.model.dtypes import DType, dtype_name
from backends.llm.model.native.page_layout import NativePageLayout
from backends.native.library import zeroed

if TYPE_CHECKING:
    from torch import Tensor


Floats = NDArray[np.float32]


class NativeKVPool:
    """Zeroed at first; reused pages keep what was there, which the kernels never read."""

    def __init__(self, config: ModelConfig, num_pages: int, page_size: int, dtype: DType) -> None:
        assert page_size % 16 == 0, "the kernels read keys in vectors of 16"
        self._config = config
        self._dtype = dtype_name(dtype)
        self.page_size = page_size
        self.num_pages = num_pages
        self.page_layout = NativePageLayout(config, page_size, dtype)
        self.bytes_per_page = bytes_per_token(config, dtype) * page_size
        shape = (config.num_layers, 2, num_pages, -1)
        memory = zeroed(self.bytes_per_page * num_pages)
        self.pages = memory.reshape(shape)  # uint8 [L, 2, P, bytes]

    def copy_page(self, source: int, target: int) -> None:
        """All layers of one page."""
        self.pages[:, :, target] = self.pages[:, :, source]

    def read(
        self, layer: int, pages: list[int], first: int, num_tokens: int
    ) -> tuple[Floats, Floats]:
        """Keys and values [T, K, D] of tokens `first` on, which lie in `pages`."""
        size, dims = self.page_size, self._config.head_dim
        used = pages[first // size : -(-(first + num_tokens) // size)]
        skipped = first % size
        numbers = _floats(self.pages[layer][:, used], self._dtype)  # [2, P, ...]
        per_word = 2 if self._dtype == "bfloat16" else 1
        shape = (len(used), self._config.num_kv_heads, size // 16)
        keys = numbers[0].reshape(*shape, dims // per_word, 16, per_word)
        values = numbers[1].reshape(*shape, 16 // per_word, dims, per_word)
        in_order = (  # [P, S / 16, 16, K, D] each
            keys.transpose(0, 2, 4, 1, 3, 5).reshape(-1, shape[1], dims),
            values.transpose(0, 2, 3, 5, 1, 4).reshape(-1, shape[1], dims),
        )
        k, v = (x[skipped : skipped + num_tokens] for x in in_order)
        return k, v

    def export_pages(self, pages: list[int]) -> "Tensor":
        """A copy, uint8 [P, bytes_per_page]."""
        import torch

        copied = self.pages[:, :, pages].transpose(2, 0, 1, 3)  # [P, L, 2, bytes]
        return torch.from_numpy(copied.reshape(len(pages), -1))

    def import_pages(self, pages: list[int], values: "Tensor") -> None:
        """What `export_pages` gave, into other pages."""
        layers, parts, _, size = self.pages.shape
        shaped = values.numpy().reshape(len(pages), layers, parts, size)
        self.pages[:, :, pages] = shaped.transpose(1, 2, 0, 3)


def _floats(stored: NDArray[np.uint8], dtype: str) -> Floats:
    """Numbers of a copy of some bytes."""
    if dtype == "float32":
        return stored.copy().view(np.float32)
    wide: Floats = (stored.copy().view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return wide
