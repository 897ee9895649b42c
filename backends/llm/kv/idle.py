"""Contexts that wait for their next use, in the order in which they lose their pages."""

import math
from collections.abc import Iterator

from backends.llm.kv.eviction.order import EvictionOrder
from backends.llm.kv.eviction.policies import Policy, Rank, rank
from backends.llm.kv.eviction.use import NEVER
from backends.llm.kv.page_table import PageTable
from backends.llm.kv.radix import Cost


class IdleTables:
    """Ordered by the same policy as the leaves of the tree; pinned ones are not in the order.
    `now` is the engine's time in seconds, changed from outside."""

    def __init__(self, policy: Policy, cost: Cost) -> None:
        self.now = 0.0
        self._policy = policy
        self._cost = cost
        self._clock = 0
        self._floor = 0.0
        self._tables: dict[PageTable, None] = {}
        self._order: EvictionOrder[PageTable] = EvictionOrder(self._rank)
        self._pinned: dict[PageTable, None] = {}
        self._retained: dict[PageTable, None] = {}

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
        """One use; what was said until the next use ends."""
        self._clock += 1
        use = table.use
        use.last_used = self._clock
        use.num_uses += 1
        use.floor = self._floor
        use.next_use = NEVER
        use.retained_until = -math.inf
        use.seconds_per_token = self._cost(0, table.num_computed)
        self._retained.pop(table, None)
        self._place(table)

    def discard(self, table: PageTable) -> None:
        self._tables.pop(table, None)
        self._pinned.pop(table, None)
        self._retained.pop(table, None)
        self._order.discard(table)

    def pop(self) -> PageTable | None:
        """Take out the next that is to lose its pages; None when all are pinned."""
        for table in [t for t in self._retained if t.use.retained_until <= self.now]:
            del self._retained[table]
            self._place(table)
        lowest = self._order.pop()
        if lowest is None:
            return None
        table, (_, score, _) = lowest
        self._floor = max(self._floor, score)
        self.discard(table)
        return table

    def expect(self, table: PageTable, next_use: float) -> None:
        table.use.next_use = next_use
        self._place(table)

    def retain(self, table: PageTable, until: float) -> None:
        table.use.retained_until = until
        self._retained[table] = None
        self._place(table)

    def pin(self, table: PageTable) -> None:
        self._pinned[table] = None
        self._order.discard(table)

    def unpin(self, table: PageTable) -> None:
        if table in self._pinned:
            del self._pinned[table]
            self._place(table)

    def is_pinned(self, table: PageTable) -> bool:
        return table in self._pinned

    def pages_pinned(self) -> set[int]:
        return {page for table in self._pinned for page in table.pages}

    def check_integrity(self) -> None:
        for table in self._tables:
            is_pinned = table in self._pinned
            assert is_pinned != (table in self._order), "an idle context eviction cannot see"
        assert len(self._order) + len(self._pinned) == len(self._tables), "a stranger in the order"
        assert self._retained.keys() <= self._tables.keys(), "retained, but not idle"

    def _place(self, table: PageTable) -> None:
        if table in self._tables and table not in self._pinned:
            self._order.place(table)

    def _rank(self, table: PageTable) -> Rank:
        return rank(table.use, self._policy, self.now)
