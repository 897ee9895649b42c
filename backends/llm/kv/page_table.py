"""What every holder of pages has: a sequence, a context, an adapter, a load from a lower tier; and
the tables of running sequences as one int32 array that kernels read.

    table of A   7 3 9 . .      a row each, kept from step to step: an entry is written when its
    table of B   4 8 . . .      sequence gets a page, and at no other time

A row is given to a page table at its first step. When all are given, the one that was longest in no
step goes to the next; so a sequence that ended, was preempted or pauses gives up its row when
another needs it, and is written again if it comes back.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from backends.llm.kv.eviction import Use
from backends.llm.kv.radix import RadixNode


@dataclass(slots=True, eq=False)
class Load:
    """Filled by the transfer thread until `is_done`; taken into the tree by the engine's."""

    keys: list[bytes]
    pages: list[int]  # of the pool, reserved for it: no other reader or writer
    num_host: int = 0  # pages that came, in order of `keys`: those of the host ...
    num_disk: int = 0  # ... and those of the disk; fewer than all where some were lost
    is_done: bool = False  # the worker is finished with it
    is_taken: bool = False  # what came is in the tree
    is_credited: bool = False

    @property
    def num_pages(self) -> int:
        return self.num_host + self.num_disk

    def credit(self) -> int:
        """Pages that the first caller may count as found in a lower tier."""
        is_first = self.is_taken and not self.is_credited
        self.is_credited |= self.is_taken
        return self.num_pages if is_first else 0


class Namespace(NamedTuple):
    """A context inherits its parent's. The names go into the keys of pages on disk, so an adapter
    is named by what its weights are (a digest), not by what it is called."""

    adapter: str = ""  # "": the base model alone
    salt: str = ""  # a tenant's; "": shared by all requests without one


SHARED = Namespace()


class PageTable:
    """The pages of one token sequence, in order; the first `num_computed` tokens have KV.

    The first pages, up to the end of `node`, are those that the tree names for these tokens."""

    __slots__ = (
        *("due_s", "is_expected", "is_private", "is_released", "load", "namespace", "node"),
        *("num_computed", "num_exact", "num_listed", "pages", "row", "use"),
    )

    def __init__(self, namespace: Namespace = SHARED) -> None:
        self.namespace = namespace
        self.pages: list[int] = []
        self.num_computed = 0
        self.node: RadixNode | None = None  # the tree node this table keeps locked
        self.load: Load | None = None  # brings more of its KV from a lower tier
        self.use = Use()  # as an idle context
        self.due_s = -math.inf  # when it is expected to be read, on the engine's clock
        self.is_expected = False  # somebody said so
        self.is_released = False  # its context is gone
        self.is_private = False  # its KV is not exactly its tokens': the tree never names it
        self.num_exact = 0  # first tokens before those that a fused prompt reads elsewhere
        self.row = -1  # where `PageRows` lists the pages for the model; -1: nowhere yet
        self.num_listed = 0  # first pages that stand there as they are here

    @property
    def is_loading(self) -> bool:
        """KV is on its way: wait for it instead of computing it."""
        return self.load is not None and not self.load.is_taken

    @property
    def num_named(self) -> int:
        """Tokens whose pages the tree names."""
        return self.node.end if self.node is not None else 0

    def set_page(self, at: int, page: int) -> None:
        """Point an entry at another page."""
        self.pages[at] = page
        self.num_listed = min(self.num_listed, at)

    def cut(self, num_pages: int) -> list[int]:
        """Take the pages from `num_pages` on out."""
        cut = self.pages[num_pages:]
        del self.pages[num_pages:]
        self.num_listed = min(self.num_listed, num_pages)
        return cut


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
