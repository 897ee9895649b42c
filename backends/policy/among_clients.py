"""What clients say of their own queries orders each one's requests among themselves.

    by arrival            a1  b2  a3  b4  a5        a has the turns 1, 3 and 5, b has 2 and 4
    as they say it        b4  a5  a1  b2  a3
    so they are served    a5  b4  a1  b2  a3

A client that says that its work is urgent delays its own other work, and nobody else's. Whichever
of its requests ends, its first turn is used: one that waits for long keeps no turn for others.
"""

from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Generic, TypeVar

from backends.policy.base import Policy

T = TypeVar("T")


def in_their_turns(
    plain: Sequence[T], believed: Sequence[T], client_of: Callable[[T], str]
) -> list[T]:
    """The same items in the turns that `plain` gives to their clients, and within each client in
    the order of `believed`. Items of no client (empty) keep their turns."""
    lines: dict[str, Iterator[T]] = {}
    for client in {client_of(item) for item in plain} - {""}:
        lines[client] = iter([item for item in believed if client_of(item) == client])
    return [
        next(lines[client]) if (client := client_of(item)) else item  # as many in both
        for item in plain
    ]


class ClientTurns(Generic[T]):
    """The turns of clients: the arrivals of their requests, used up from the first on."""

    def __init__(self, client_of: Callable[[T], str], arrival_of: Callable[[T], int]) -> None:
        self._client_of = client_of
        self._arrival_of = arrival_of
        self._present: dict[T, str] = {}
        self._turns: dict[str, list[int]] = {}  # client -> a heap

    def order(self, believed: Sequence[T]) -> list[T]:
        """All that is there by the turns of its clients; what was there before has ended."""
        self._note(believed)
        left = {client: iter(sorted(turns)) for client, turns in self._turns.items()}
        turns = [
            (next(left[client]) if (client := self._client_of(item)) else self._arrival_of(item))
            for item in believed
        ]
        places = sorted(range(len(believed)), key=turns.__getitem__)
        return [believed[place] for place in places]

    def _note(self, items: Sequence[T]) -> None:
        present = {item: client for item in items if (client := self._client_of(item))}
        for item, client in present.items():
            if item not in self._present:
                heappush(self._turns.setdefault(client, []), self._arrival_of(item))
        for item, client in self._present.items():
            if item not in present:
                heappop(self._turns[client])
                if not self._turns[client]:
                    del self._turns[client]
        self._present = present


def is_by_tenant(policy: Policy) -> bool:
    """Whether it is fair between tenants, and so between clients."""
    return "tenant" in policy.goes_by
