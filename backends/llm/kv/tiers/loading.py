"""Loads from a lower tier that are under way: their waiters, and the pages they fill.

Each load fills a table of its own, so it goes on when a sequence that waits for it is aborted or
preempted: the loaded pages enter the tree and serve any request that matches them.
"""

from collections.abc import Iterator
from typing import NamedTuple

from backends.llm.kv.page_table import Load, PageTable


class Arrival(NamedTuple):
    """A load and the table whose last pages it fills."""

    load: Load
    lease: PageTable
    ids: list[int]  # those whose KV the lease will hold


class Loading:
    """Loads under way by key."""

    def __init__(self) -> None:
        self._arrivals: list[Arrival] = []
        self._by_key: dict[bytes, Load] = {}

    def __len__(self) -> int:
        return len(self._arrivals)

    def find(self, key: bytes) -> Load | None:
        """The load that brings this page."""
        return self._by_key.get(key)

    def add(self, load: Load, lease: PageTable, ids: list[int]) -> None:
        # A lease locks the path to its pages, so a request that matches it continues from there and
        # finds this load.
        assert not self._by_key.keys() & set(load.keys), "a page is brought twice"
        self._arrivals.append(Arrival(load, lease, ids))
        self._by_key.update((key, load) for key in load.keys)

    def take_done(self) -> list[Arrival]:
        """The loads that are done; they are then no longer under way."""
        done: list[Arrival] = []
        rest: list[Arrival] = []
        for arrival in self._arrivals:  # asked once each: the worker may finish one meanwhile
            (done if arrival.load.is_done else rest).append(arrival)
        self._arrivals = rest
        for arrival in done:
            for key in arrival.load.keys:
                del self._by_key[key]
        return done

    def tables(self) -> Iterator[PageTable]:
        """The tables that hold pages here."""
        return (arrival.lease for arrival in self._arrivals)
