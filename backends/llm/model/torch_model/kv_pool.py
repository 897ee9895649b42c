"""The memory of all keys and values: one tensor, a slot a token, S slots a page."""

import math

import numpy as np
import torch
from torch import Tensor

from backends.llm.model.config import ModelConfig
from backends.llm.model.torch_model.page_layout import TorchPageLayout


class KVPool:
    """Slots of a reused page hold what was there: attention clears those that it does not see."""

    def __init__(
        self,
        config: ModelConfig,
        num_pages: int,
        page_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.page_size = page_size
        shape = (config.num_layers, 2, num_pages, page_size, config.num_kv_heads, config.head_dim)
        self.page_layout = TorchPageLayout((page_size, *shape[:2], *shape[4:]), dtype)
        self._pages = _zeros(shape, dtype, device)  # [L, 2, P, S, K, D]

    def write(self, layer: int, slots: Tensor, k: Tensor, v: Tensor) -> None:
        """Store k and v [T, K, D] at slots [T]."""
        k_slots, v_slots = self._pages[layer].flatten(1, 2)  # [P * S, K, D] each
        k_slots.index_copy_(0, slots, k)
        v_slots.index_copy_(0, slots, v)

    def read(self, layer: int, pages: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of pages [..., P] as [..., P * S, K, D]."""
        k, v = self._pages[layer]  # [P, S, K, D] each
        return _gather(k, pages), _gather(v, pages)

    def slots(self, pages: list[int], first: int, num_tokens: int) -> Tensor:
        """Where `num_tokens` from the `first` on lie, [T]."""
        places = np.arange(first, first + num_tokens)
        slots = np.array(pages)[places // self.page_size] * self.page_size
        return torch.from_numpy(slots + places % self.page_size).to(self._pages.device)

    def read_slots(self, layers: slice, slots: Tensor) -> Tensor:
        """Copies of keys and values [2, L, T, K, D] at slots [T]."""
        both = self._pages[layers].flatten(2, 3)  # [L, 2, P * S, K, D]
        return both.index_select(2, slots).transpose(0, 1)

    def write_slots(self, layers: slice, slots: Tensor, k: Tensor, v: Tensor) -> None:
        """Store k and v [L, T, K, D] at slots [T]."""
        both = self._pages[layers].flatten(2, 3)  # [L, 2, P * S, K, D]
        both.index_copy_(2, slots, torch.stack((k, v), dim=1))

    def copy_page(self, source: int, target: int) -> None:
        """All layers of one page."""
        self._pages[:, :, target] = self._pages[:, :, source]

    def export_pages(self, pages: list[int]) -> Tensor:
        """A copy of whole pages, all layers: uint8 [P, bytes of a page]."""
        index = torch.tensor(pages, device=self._pages.device)
        values = self._pages.index_select(2, index).movedim(2, 0)  # [P, L, 2, S, K, D]
        return values.contiguous().flatten(1).view(torch.uint8)

    def import_pages(self, pages: list[int], values: Tensor) -> None:
        """What `export_pages` gave, into pages without other users; from any thread."""
        shape = self._pages.shape
        index = torch.tensor(pages, device=self._pages.device)
        shaped = values.to(self._pages.device).view(self._pages.dtype)
        shaped = shaped.view(len(pages), *shape[:2], *shape[3:])  # [P, L, 2, S, K, D]
        self._pages.index_copy_(2, index, shaped.movedim(0, 2))


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """On CPU from numpy, whose zeros take no memory until a page of them is written."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    num_bytes = math.prod(shape) * dtype.itemsize
    return torch.from_numpy(np.zeros(num_bytes, np.uint8)).view(dtype).view(shape)


def _gather(values: Tensor, pages: Tensor) -> Tensor:
    rows = values.index_select(0, pages.flatten())  # [prod(...) * P, S, K, D]
    return rows.view(*pages.shape[:-1], -1, *values.shape[2:])  # [..., P * S, K, D]
