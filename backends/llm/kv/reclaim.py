"""Takes pages back when the pool has none left: adapters, prefixes, contexts, in this order."""

from collections.abc import Callable
from typing import Protocol

from backends.llm.kv.holders import PageHolders
from backends.llm.kv.idle import IdleTables
from backends.llm.kv.next_use import idle_s
from backends.llm.kv.page_table import PageTable
from backends.llm.kv.radix import RadixNode
from backends.llm.stats import CacheStats

TRIMS = 8  # a context that loses its pages does so in as many parts at most


class Borrower(Protocol):
    """Has pages for something else than KV: see `lora.pool`."""

    def give_back(self, drop: Callable[[PageTable], None]) -> bool:
        """Drop the table of what is used least; False when all is in use."""


class Reclaim:
    """Of one cache, on its thread."""

    def __init__(
        self,
        holders: PageHolders,
        idle: IdleTables,
        borrower: Borrower | None,
        save: Callable[[RadixNode, int], None] | None,
        stats: CacheStats,
        clock: Callable[[], float],
    ) -> None:
        """`save` copies the last pages of a node to a lower tier; None: there is none."""
        self._holders = holders
        self._idle = idle
        self._borrower = borrower
        self._save = save
        self._stats = stats
        self._clock = clock

    def one_round(self, num_pages: int, spared_s: float | None = None) -> bool:
        """Free up to `num_pages`, from one kind of holder; False when there was nothing left to
        evict, without contexts that are expected to be read within `spared_s`."""
        if self._borrower is not None and self._borrower.give_back(self._holders.drop):
            return True
        if evicted := self._holders.tree.evict(num_pages, self._save):
            self._stats.evicted_pages += len(evicted)
            self._holders.drop_pages(evicted)
            return True
        return self._take_from_context(num_pages, spared_s)

    def _take_from_context(self, num_pages: int, spared_s: float | None) -> bool:
        """Its whole pages are then leaves of the tree, for the next round."""
        table = self._idle.pop()
        if table is None:
            return False
        if spared_s is not None and idle_s(table.due_s, self._clock()) <= spared_s:
            self._idle.put_back(table)
            return False
        num_held = len(table.pages)
        if table.is_expected and table.num_computed > self._holders.pool.page_size:
            self._trim(table, num_pages)
        else:
            self._holders.drop(table)
        self._note_lost(num_held - len(table.pages))
        return True

    def _note_lost(self, num_pages: int) -> None:
        """A context lost pages. They are copied to a lower tier when they leave the tree too."""
        if self._save is not None:
            self._stats.demoted_pages += num_pages
        else:
            self._stats.dropped_pages += num_pages

    def _trim(self, table: PageTable, num_pages: int) -> None:
        """Its last pages are no longer held. The others are: by the time that more is needed,
        another context may be the one that is read last."""
        num_pages = max(num_pages, len(table.pages) // TRIMS)
        kept = max(0, table.num_computed // self._holders.pool.page_size - num_pages)
        self._holders.truncate(table, kept * self._holders.pool.page_size)
        if kept:
            self._idle.put_back(table)
        else:
            self._holders.drop(table)
