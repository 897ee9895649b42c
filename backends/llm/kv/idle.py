"""Contexts that wait for their next use, in the order in which they lose their pages."""

from collections.abc import Callable, Iterator

from backends.llm.kv.eviction import POLICIES, Cost, EvictionName, EvictionOrder, Rank, rank
from backends.llm.kv.next_use import NextUseOrder
from backends.llm.kv.page_table import PageTable


class IdleTables:
    """Ordered by the same policy as the leaves of the tree; pinned ones are not in the order."""

    def __init__(self, eviction: EvictionName, cost: Cost, clock: Callable[[], float]) -> None:
        self._policy = POLICIES[eviction]
        self._cost = cost
        self._clock = 0  # logical time: one tick a use
        self._floor = 0.0
        self._tables: dict[PageTable, None] = {}
        self._order: EvictionOrder[PageTable] | NextUseOrder = (
            NextUseOrder(clock) if eviction == "next_use" else EvictionOrder(self._rank)
        )
        self._pinned: dict[PageTable, None] = {}

    def __contains__(self, table: PageTable) -> bool:
        return table in self._tables

    def __iter__(self) -> Iterator[PageTable]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def add(self, table: PageTable) -> None:
        if table not in self._tables:
            self._tables[table] = None
            self.touch(table)

    def touch(self, table: PageTable) -> None:
        """One use."""
        self._clock += 1
        table.use.note(self._clock, self._floor, self._cost(0, table.num_computed))
        if table not in self._pinned:
            self._order.add(table)

    def expect(self, table: PageTable, due_s: float) -> None:
        """It is expected to be read then."""
        table.due_s = due_s
        table.is_expected = True
        if table in self._order:
            self._order.place(table)

    def discard(self, table: PageTable) -> None:
        self._tables.pop(table, None)
        self._pinned.pop(table, None)
        self._order.discard(table)

    def pop(self) -> PageTable | None:
        """Take out the next that is to lose its pages; None when all are pinned."""
        lowest = self._order.pop()
        if lowest is None:
            return None
        table, (score, _) = lowest
        self._floor = max(self._floor, score)
        self.discard(table)
        return table

    def put_back(self, table: PageTable) -> None:
        """One that was popped stays after all, without a use."""
        self._tables[table] = None
        self._order.place(table)

    def pin(self, table: PageTable) -> None:
        """Never pop it, until it is discarded."""
        self._pinned[table] = None
        self._order.discard(table)

    def is_pinned(self, table: PageTable) -> bool:
        return table in self._pinned

    def pages_pinned(self) -> set[int]:
        return {page for table in self._pinned for page in table.pages}

    def check_integrity(self) -> None:
        for table in self._tables:
            is_pinned = table in self._pinned
            assert is_pinned != (table in self._order), "an idle context eviction cannot see"
        assert len(self._order) + len(self._pinned) == len(self._tables), "a stranger in the order"

    def _rank(self, table: PageTable) -> Rank:
        return rank(table.use, self._policy)
