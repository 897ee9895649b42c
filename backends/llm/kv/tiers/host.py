"""Evicted pages in host memory, one a slot; the least recently used goes first."""

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


class HostTier:
    """Changed by the transfer thread alone; any thread may ask what it holds."""

    def __init__(self, num_pages: int, page_bytes: int | None, is_pinned: bool) -> None:
        """`page_bytes`: of pages given as tensors, which lie in one buffer; None: pages are bytes
        of any length."""
        assert num_pages >= 1, "a host tier without pages"
        self.num_pages = num_pages
        self._rows: Tensor | list[bytes] = [b""] * num_pages
        if page_bytes is not None:
            self._rows = _buffer(num_pages, page_bytes, is_pinned)  # uint8 [P, bytes]
        self._slots: OrderedDict[bytes, int] = OrderedDict()  # least recently used first
        self._free = list(range(num_pages - 1, -1, -1))

    def __contains__(self, key: bytes) -> bool:
        return key in self._slots

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def is_full(self) -> bool:
        return not self._free

    def put(self, key: bytes, row: "Tensor | bytes") -> None:
        """Copy a page in; the caller has made room."""
        assert key not in self._slots, "written once"
        slot = self._free.pop()
        self._set(slot, row)
        self._slots[key] = slot

    def get(self, key: bytes) -> "Tensor | bytes | None":
        """The page, until the next `put`; it counts as used."""
        slot = self._slots.get(key)
        if slot is None:
            return None
        self._slots.move_to_end(key)
        return self._rows[slot]

    def oldest(self) -> "tuple[bytes, Tensor | bytes]":
        key, slot = next(iter(self._slots.items()))
        return key, self._rows[slot]

    def in_order(self) -> list[bytes]:
        """Least recently used first."""
        return list(self._slots)

    def drop(self, key: bytes) -> None:
        slot = self._slots.pop(key)
        self._free.append(slot)
        if isinstance(self._rows, list):
            self._rows[slot] = b""

    def _set(self, slot: int, row: "Tensor | bytes") -> None:
        if isinstance(self._rows, list):
            assert isinstance(row, bytes), "slots of any length take bytes"
            self._rows[slot] = row
        else:
            assert not isinstance(row, bytes), "slots of one length take tensors"
            self._rows[slot].copy_(row)

    def check_integrity(self) -> None:
        slots = [*self._slots.values(), *self._free]
        assert sorted(slots) == list(range(self.num_pages)), "a slot is lost or taken twice"


def _buffer(num_pages: int, page_bytes: int, is_pinned: bool) -> "Tensor":
    """On CPU from numpy, whose zeros take no memory until a page of them is written."""
    import torch

    if is_pinned:
        return torch.zeros(num_pages, page_bytes, dtype=torch.uint8, pin_memory=True)
    return torch.from_numpy(np.zeros((num_pages, page_bytes), np.uint8))
