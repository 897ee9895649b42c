"""Evicted pages in host memory, one a slot. Pages without a page held after them go first, in the
order of the eviction policy, by a clock of their own (RAGCache, arXiv 2404.12457).
"""

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from backends.llm.kv.eviction import EvictionOrder, Policy, Rank, Use, lru, rank
from backends.llm.kv.tiers.page_codec import copy_row

if TYPE_CHECKING:
    from torch import Tensor


class Origin(NamedTuple):
    """Of a page, as the pool knew it when it left."""

    before: bytes = b""  # the key of the page before it
    num_uses: int = 1
    seconds_per_token: float = 0.0


UNKNOWN = Origin()


class HostTier:
    """Changed by the transfer thread alone; any thread may ask what it holds."""

    def __init__(
        self, num_pages: int, page_bytes: int | None, is_pinned: bool, policy: Policy = lru
    ) -> None:
        """`page_bytes`: of pages given as tensors, which lie in one buffer; None: pages are bytes
        of any length."""
        assert num_pages >= 1, "a host tier without pages"
        self.num_pages = num_pages
        self._rows: Tensor | list[bytes] = [b""] * num_pages
        if page_bytes is not None:
            self._rows = _buffer(num_pages, page_bytes, is_pinned)  # uint8 [P, bytes]
        self._slots: dict[bytes, int] = {}
        self._free = list(range(num_pages - 1, -1, -1))
        self._policy = policy
        self._clock = 0  # logical time: one tick a use
        self._floor = 0.0  # highest score dropped so far
        self._uses: dict[bytes, Use] = {}
        self._before: dict[bytes, bytes] = {}
        self._num_after: Counter[bytes] = Counter()  # pages held right after a page
        self._last: EvictionOrder[bytes] = EvictionOrder(self._rank)  # those with none after them

    def __contains__(self, key: bytes) -> bool:
        return key in self._slots

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def is_full(self) -> bool:
        return not self._free

    def put(self, key: bytes, row: "Tensor | bytes", origin: Origin = UNKNOWN) -> None:
        """Copy a page in; the caller has made room."""
        assert key not in self._slots, "written once"
        slot = self._free.pop()
        self._set(slot, row)
        use = self._uses[key] = Use(num_uses=origin.num_uses - 1)
        self._note(use, origin.seconds_per_token)
        self._before[key] = origin.before
        self._num_after[origin.before] += 1
        self._last.discard(origin.before)
        if not self._num_after[key]:
            self._last.add(key)
        self._slots[key] = slot

    def get(self, key: bytes) -> "Tensor | bytes | None":
        """The page, until the next `put`; it counts as used."""
        slot = self._slots.get(key)
        if slot is None:
            return None
        use = self._uses[key]
        self._note(use, use.seconds_per_token)
        return self._rows[slot]

    def lowest(self) -> "tuple[bytes, Tensor | bytes]":
        """The page that goes first; it stays until it is dropped."""
        found = self._last.pop()
        assert found is not None, "a page is held and none is the last of its prefix"
        key, (score, _) = found
        self._last.place(key)
        self._floor = max(self._floor, score)
        return key, self._rows[self._slots[key]]

    def in_order(self) -> list[bytes]:
        """Least recently used first."""
        return sorted(self._slots, key=lambda key: self._uses[key].last_used)

    def drop(self, key: bytes) -> None:
        slot = self._slots.pop(key)
        self._free.append(slot)
        if isinstance(self._rows, list):
            self._rows[slot] = b""
        self._last.discard(key)
        del self._uses[key]
        before = self._before.pop(key)
        self._num_after[before] -= 1
        if not self._num_after[before]:
            del self._num_after[before]
            if before in self._slots:
                self._last.add(before)

    def check_integrity(self) -> None:
        slots = [*self._slots.values(), *self._free]
        assert sorted(slots) == list(range(self.num_pages)), "a slot is lost or taken twice"
        assert self._slots.keys() == self._uses.keys() == self._before.keys(), "pages without uses"
        assert Counter(self._before.values()) == self._num_after, (
            "pages after a page are miscounted"
        )
        for key in self._slots:
            assert (key in self._last) == (not self._num_after[key]), "eviction sees another page"

    def _note(self, use: Use, seconds_per_token: float) -> None:
        self._clock += 1
        use.note(self._clock, self._floor, seconds_per_token)

    def _rank(self, key: bytes) -> Rank:
        return rank(self._uses[key], self._policy)

    def _set(self, slot: int, row: "Tensor | bytes") -> None:
        if isinstance(self._rows, list):
            assert isinstance(row, bytes), "slots of any length take bytes"
            self._rows[slot] = row
        else:
            assert not isinstance(row, bytes), "slots of one length take tensors"
            copy_row(row, self._rows[slot])


def _buffer(num_pages: int, page_bytes: int, is_pinned: bool) -> "Tensor":
    """On CPU from numpy, whose zeros take no memory until a page of them is written."""
    import torch

    if is_pinned:
        return torch.zeros(num_pages, page_bytes, dtype=torch.uint8, pin_memory=True)
    return torch.from_numpy(np.zeros((num_pages, page_bytes), np.uint8))
