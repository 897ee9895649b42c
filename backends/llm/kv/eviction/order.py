"""Candidates for eviction, lowest rank first: a lazy heap: ranks may rise after insertion."""

import heapq
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from backends.llm.kv.eviction.policies import Rank

Item = TypeVar("Item", bound=Hashable)
_SLACK = 64


class EvictionOrder(Generic[Item]):
    """An item's rank may rise at any time (it is used); call `place` again when it fell."""

    def __init__(self, rank: Callable[[Item], Rank]) -> None:
        self._rank = rank
        self._heap: list[tuple[Rank, int, Item]] = []  # (rank when placed, ticket, item)
        self._tickets: dict[Item, int] = {}  # the one entry of each item that counts
        self._num_tickets = 0

    def __contains__(self, item: Item) -> bool:
        return item in self._tickets

    def __len__(self) -> int:
        return len(self._tickets)

    def add(self, item: Item) -> None:
        """Make it a candidate, if it is none."""
        if item not in self._tickets:
            self.place(item)

    def place(self, item: Item) -> None:
        """Make it a candidate at its rank of now."""
        self._num_tickets += 1
        self._tickets[item] = self._num_tickets
        heapq.heappush(self._heap, (self._rank(item), self._num_tickets, item))
        self._compact()

    def discard(self, item: Item) -> None:
        self._tickets.pop(item, None)
        self._compact()

    def pop(self) -> tuple[Item, Rank] | None:
        """Take out the candidate of lowest rank."""
        while self._heap:
            placed, ticket, item = heapq.heappop(self._heap)
            if self._tickets.get(item) != ticket:
                continue
            rank = self._rank(item)
            if rank > placed:
                self.place(item)
                continue
            del self._tickets[item]
            return item, rank
        return None

    def _compact(self) -> None:
        if len(self._heap) > 2 * len(self._tickets) + _SLACK:
            self._heap = [entry for entry in self._heap if self._tickets.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)
