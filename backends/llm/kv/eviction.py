"""Eviction order when pages run out: a policy is one pure function from a `Use` to a score.

| `eviction=` | goes first | good where |
|---|---|---|
| `lru` | least recently used | prefixes recur soon; needs no model of the load |
| `lfu` | least frequently used, the older one among equals | few prefixes are hot for long |
| `pgdsf` | least worth: uses x seconds to compute again / size | lengths of prompts differ |
| `next_use` | of contexts the one read last (`next_use.py`); of prefixes as `lru` | agents, tools |

`pgdsf` is prefix-aware GDSF (RAGCache, arXiv 2404.12457): clock + frequency x cost / size, where
the clock is the highest score that was evicted before the last use. So what stays unused ages, and
a token deep in a long prompt, which takes longer to compute than one at its start, is worth more.
The pool and the host tier have a clock each, and only leaves go. One thing differs: RAGCache
averages the cost of a node over the requests that missed it, which each computed other tokens too.
Here it is the node's own, by the latency model: where it stands in its prompt never changes, so all
misses of it cost the same. Counts of `lfu` do not age.
"""

import heapq
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, Literal, TypeVar

Item = TypeVar("Item", bound=Hashable)
Cost = Callable[[int, int], float]  # seconds a token to compute tokens [start, end) again
EvictionName = Literal["lru", "lfu", "pgdsf", "next_use"]
Rank = tuple[float, int]
_SLACK = 64


@dataclass(slots=True)
class Use:
    """Of a tree node or an idle context. A policy scores it; the lowest score goes first."""

    last_used: int = 0  # logical time: one tick a use
    num_uses: int = 0
    seconds_per_token: float = 0.0  # to compute it again, as it stood at the last use
    floor: float = 0.0  # the highest score evicted before the last use: GDSF's ageing

    def note(self, now: int, floor: float, seconds_per_token: float) -> None:
        """It is used now."""
        self.last_used = now
        self.num_uses += 1
        self.floor = floor
        self.seconds_per_token = seconds_per_token


Policy = Callable[[Use], float]


def lru(use: Use) -> float:
    return use.last_used


def lfu(use: Use) -> float:
    return use.num_uses


def pgdsf(use: Use) -> float:
    return use.floor + use.num_uses * use.seconds_per_token


POLICIES: Mapping[EvictionName, Policy] = MappingProxyType(
    {"lru": lru, "lfu": lfu, "pgdsf": pgdsf, "next_use": lru}  # nobody expects a prefix
)


def rank(use: Use, policy: Policy) -> Rank:
    """The lowest goes first: by policy, among equals the one used longest ago."""
    return policy(use), use.last_used


class EvictionOrder(Generic[Item]):
    """Candidates, lowest rank first: a lazy heap. An item's rank may rise at any time (it is used);
    call `place` again when it fell."""

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
