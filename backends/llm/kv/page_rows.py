"""The page lists of running sequences as one int32 array that kernels read.

    table of A   7 3 9 . .      a row each, kept from step to step: an entry is written when its
    table of B   4 8 . . .      sequence gets a page, and at no other time

A row is given to a page table at its first step. When all are given, the one that was longest in no
step goes to the next; so a sequence that ended, was preempted or pauses gives up its row when
another needs it, and is written again if it comes back.
"""

import numpy as np
from numpy.typing import NDArray

from backends.llm.kv.page_table import PageTable


class PageRows:
    """Of one KV pool. `num_rows`: most sequences in a step; `max_pages`: most pages of one."""

    def __init__(self, num_rows: int, max_pages: int, page_size: int) -> None:
        self.array: NDArray[np.int32] = np.zeros((num_rows, max_pages), np.int32)  # [rows, P]
        self.flat = self.array.reshape(-1)
        self.page_size = page_size
        self._tables: list[PageTable | None] = [None] * num_rows
        self._last_steps = [0] * num_rows
        self._changes: dict[int, int] = {}
        self._step = 0

    def begin_step(self) -> None:
        """Rows placed from now on stay until the next call."""
        self._step += 1

    def place(self, table: PageTable, num_pages: int) -> int:
        """The row that holds the table's first `num_pages` pages."""
        row = table.row
        if row < 0 or self._tables[row] is not table:
            row = self._give_row(table)
        self._last_steps[row] = self._step
        if table.num_listed < num_pages:
            self._write(table, num_pages)
        return row

    def take_changes(self) -> dict[int, int]:
        """Row -> first entry that was written since the last call, for a copy on a device."""
        changes, self._changes = self._changes, {}
        return changes

    def _give_row(self, table: PageTable) -> int:
        row = min(range(len(self._tables)), key=self._last_steps.__getitem__)
        assert self._last_steps[row] < self._step, "more sequences in a step than rows"
        self._tables[row] = table
        table.row, table.num_listed = row, 0
        return row

    def _write(self, table: PageTable, num_pages: int) -> None:
        first = table.num_listed
        self.array[table.row, first:num_pages] = table.pages[first:num_pages]
        self._changes[table.row] = min(first, self._changes.get(table.row, first))
        table.num_listed = num_pages
