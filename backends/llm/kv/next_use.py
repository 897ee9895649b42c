"""Contexts by when they are read next: the one that is read last loses its pages first (Belady).

The runtime says when it expects to read a context (`KVCache.expect`): it knows the graph and how
long tools take. An expectation that has passed decays, and a context of which nothing is known
counts as one that was expected when it was used last:

    idle for   now                    the seconds that a context is still expected to be idle
    read at    ──|──────|────>        before its time: until then
                 due    due           after it: as long again as it is late, so that what comes
                 (late)               no more is lost at last, and unknown ones are as in LRU

A choice by least memory x time (InferCept, arXiv 2402.01869): a page that is kept is taken from
others for as long as it is idle, so of those that could go the idlest costs most. Nothing goes
before its pages are needed. Expectations from a workflow: KVFlow (arXiv 2507.07400).
"""

import heapq
from collections.abc import Callable

from backends.llm.kv.eviction import EvictionOrder, Rank
from backends.llm.kv.page_table import PageTable

_SLACK = 64


def idle_s(due_s: float, now_s: float) -> float:
    """Expected seconds until something that was due at `due_s` is read."""
    return abs(due_s - now_s)


class NextUseOrder:
    """Candidates, those that are read last first. Costs O(log n) a change.

    Two orders that time does not change: of what is still due and of what is late. What becomes
    late changes sides once."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: EvictionOrder[PageTable] = EvictionOrder(_latest_first)
        self._late: EvictionOrder[PageTable] = EvictionOrder(_earliest_first)
        self._turns: list[tuple[float, int, PageTable]] = []  # when each becomes late
        self._num_turns = 0

    def __contains__(self, table: PageTable) -> bool:
        return table in self._due or table in self._late

    def __len__(self) -> int:
        return len(self._due) + len(self._late)

    def add(self, table: PageTable) -> None:
        """It was used now, and is expected when `table.due_s` says; once that has passed, nothing
        is known."""
        now_s = self._clock()
        if table.due_s <= now_s:
            table.due_s = now_s
            table.is_expected = False
        self.place(table)

    def place(self, table: PageTable) -> None:
        """Make it a candidate at its time of now."""
        self.discard(table)
        if table.due_s <= self._clock():
            self._late.place(table)
            return
        self._due.place(table)
        self._num_turns += 1
        heapq.heappush(self._turns, (table.due_s, self._num_turns, table))
        if len(self._turns) > 2 * len(self._due) + _SLACK:
            self._turns = [turn for turn in self._turns if self._counts(turn)]
            heapq.heapify(self._turns)

    def discard(self, table: PageTable) -> None:
        self._due.discard(table)
        self._late.discard(table)

    def pop(self) -> tuple[PageTable, Rank] | None:
        """Take out the candidate that is idle for longest from now on."""
        now_s = self._clock()
        self._turn(now_s)
        due, late = self._due.pop(), self._late.pop()
        if due is None or late is None:
            return due or late
        if idle_s(due[0].due_s, now_s) > idle_s(late[0].due_s, now_s):
            self._late.place(late[0])
            return due
        self._due.place(due[0])
        return late

    def _turn(self, now_s: float) -> None:
        while self._turns and self._turns[0][0] <= now_s:
            turn = heapq.heappop(self._turns)
            if self._counts(turn):
                self._due.discard(turn[2])
                self._late.place(turn[2])

    def _counts(self, turn: tuple[float, int, PageTable]) -> bool:
        due_s, _, table = turn
        return table in self._due and table.due_s == due_s


def _latest_first(table: PageTable) -> Rank:
    return -table.due_s, table.use.last_used


def _earliest_first(table: PageTable) -> Rank:
    return table.due_s, table.use.last_used
