"""The holders of every page: the radix tree, running sequences, idle contexts and loads.

Every holder has a `PageTable`. Pages come from the free list, then from idle adapters, then from
unlocked leaves of the tree, then from idle contexts, both in the order of the eviction policy.
A sequence or context that lost its pages keeps its token ids: it finds their KV in the tree, loads
it from a lower tier (`tiers`), or recomputes it.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Protocol

from backends.llm.kv.eviction import POLICIES, EvictionName
from backends.llm.kv.holders import PageHolders
from backends.llm.kv.idle import IdleTables
from backends.llm.kv.page_pool import PagePool
from backends.llm.kv.page_table import Load, PageTable
from backends.llm.kv.radix import RadixNode, RadixTree
from backends.llm.kv.reclaim import Borrower, Reclaim
from backends.llm.stats import CacheStats


class Lower(Protocol):
    """Where evicted pages of a cache go and come back from: see `tiers.tier_transfer`."""

    def save(self, cache: "KVCache", node: RadixNode, num_last: int) -> None:
        """The last pages of a node are about to go."""

    def load_rest(self, cache: "KVCache", table: PageTable, ids: list[int]) -> Load | None:
        """The load that brings the pages after those of the table, started if need be."""

    def tables(self) -> Iterable[PageTable]:
        """The tables that hold pages there."""


class KVCache(PageHolders):
    """Owns all pages. `copy_page(source, target)` copies KV when a shared page is written."""

    def __init__(
        self,
        num_pages: int,
        page_size: int,
        copy_page: Callable[[int, int], None],
        eviction: EvictionName = "lru",
        price: Callable[[int, int], float] | None = None,
        lower: Lower | None = None,
        borrower: Borrower | None = None,
        stats: CacheStats | None = None,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`price` is the seconds to compute tokens [start, end) again, for policies that ask;
        `clock` is the engine's, for `next_use`."""
        self._price = price
        tree = RadixTree(page_size, POLICIES[eviction], self._cost)
        super().__init__(PagePool(num_pages, page_size), tree, copy_page)
        self.stats = stats if stats is not None else CacheStats()
        self.idle = IdleTables(eviction, self._cost, clock)
        self._is_by_next_use = eviction == "next_use"
        self._clock = clock
        self._lower = lower
        save = partial(lower.save, self) if lower is not None else None
        self._reclaim = Reclaim(self, self.idle, borrower, save, self.stats, clock)
        self.unwritten: set[int] = set()  # named in the tree ahead of the step that writes them

    def fork(self, parent: PageTable) -> PageTable:
        """A second holder of the same tokens; the parent counts as just used."""
        if parent in self.idle:
            self.idle.touch(parent)
        if parent.node is not None:
            self.tree.touch(parent.node)
        return self.share(parent, parent.num_computed)

    def note_read(self, table: PageTable, num_tokens: int) -> None:
        """A sequence goes on behind a context of so many tokens that need KV."""
        if table.is_expected:
            self.stats.expected_reads += 1
            self.stats.kept_reads += self.has_pages(table, num_tokens)

    def has_pages(self, table: PageTable, num_tokens: int) -> bool:
        """Whether the table has KV of all whole pages of the first `num_tokens`."""
        return table.num_computed >= num_tokens // self.pool.page_size * self.pool.page_size

    def match(self, table: PageTable, ids: list[int]) -> int:
        """Take what the tree has of `ids`; returns how many tokens that adds. What a lower tier
        has beyond that starts to load, and the table `is_loading` until it can be matched."""
        if table.is_private:
            return 0
        gained = self.match_tree(table, ids)
        last, table.load = table.load, None
        brought = last.credit() if last is not None else 0
        self.stats.pool_hit_tokens += max(0, gained - brought * self.pool.page_size)
        if self._lower is not None:
            table.load = self._lower.load_rest(self, table, ids)
            self.stats.num_waits += table.load is not None and table.load is not last
        return gained

    def reserve(self, table: PageTable, num_tokens: int, spared_s: float | None = None) -> bool:
        """Make the table able to take tokens up to `num_tokens`, its next page private. False,
        and nothing changed for the table, when even eviction cannot make room, without contexts
        that are expected to be read within `spared_s`."""
        while (num_missing := self.num_missing(table, num_tokens)) > self.pool.num_free:
            if not self._reclaim.one_round(num_missing - self.pool.num_free, spared_s):
                return False
        if self.is_tail_shared(table):
            self.copy_tail(table)
        while len(table.pages) < self.pool.pages_for(num_tokens):
            table.pages.append(self.pool.take())
        return True

    def lengthen(self, table: PageTable, num_tokens: int) -> bool:
        """More pages behind those of a reserved table. False, and nothing changed for the table,
        when even eviction cannot make room."""
        while (num_new := self.pool.pages_for(num_tokens) - len(table.pages)) > self.pool.num_free:
            if not self._reclaim.one_round(num_new - self.pool.num_free):
                return False
        table.pages += [self.pool.take() for _ in range(num_new)]
        return True

    def publish(self, table: PageTable, ids: list[int], num_tokens: int) -> None:
        """Name the full pages of the first `num_tokens` in the tree, for others to match.

        They may be published before the step that writes them: every layer writes all new KV
        before any row reads, so rows of the same step may already share them. `settle` says that
        the step ran; only then may they be copied to a lower tier."""
        size = self.pool.page_size
        first, num_pages = table.num_named // size, num_tokens // size
        if table.is_private or num_pages <= first:
            return
        given = table.pages[first:num_pages]
        known, node = self.tree.insert(ids, given, table.namespace, table.node)
        for page in given[len(known) :]:
            self.pool.hold(page)  # the tree's own reference
        num_written = table.num_computed // size
        self.unwritten.update(table.pages[max(num_written, first + len(known)) : num_pages])
        self.replace(table, known, first)
        self.relock(table, node)

    def settle(self) -> None:
        """The step ran: all published pages are written."""
        self.unwritten.clear()

    def unsettle(self, tables: Iterable[PageTable]) -> None:
        """The step failed: `tables`, which continue, drop what it was to write."""
        for table in tables:
            for i, page in enumerate(table.pages):
                if page in self.unwritten:
                    self.truncate(table, i * self.pool.page_size)
                    break
        self.forget()

    def retire(self, table: PageTable) -> None:
        """From now on an idle context: keeps its pages until others need them."""
        self.cut(table, self.pool.pages_for(table.num_computed))
        self.idle.add(table)

    def expect(self, table: PageTable, after_s: float) -> None:
        """Its context is expected to be read in so many seconds; only `next_use` listens."""
        if self._is_by_next_use:
            self.idle.expect(table, self._clock() + after_s)

    def revive(self, table: PageTable, ids: list[int]) -> None:
        """A context takes what the tree has of it, and is idle again if it had lost everything."""
        self.match_tree(table, ids)
        self.retire(table)

    def drop(self, table: PageTable) -> None:
        """Give everything back; the table is then empty and may be used again."""
        self.idle.discard(table)
        super().drop(table)

    def release(self, table: PageTable) -> None:
        """Its context is gone: drop it for good, a pin with it."""
        table.is_released = True
        self.stats.freed_contexts += 1
        self.drop(table)

    def forget(self) -> None:
        """Drop everything in the tree without a holder."""
        self.unwritten.clear()
        self.drop_pages(self.tree.evict(self.tree.num_pages))

    def take_stats(self, **gauges: int) -> CacheStats:
        """The counters with the gauges of now, `gauges` among them. Any thread may ask; what
        changes meanwhile may be counted or not."""
        return replace(
            self.stats,
            pages_compared=self.tree.num_pages_compared,
            num_pages=self.pool.num_pages,
            free_pages=self.pool.num_free,
            tree_pages=self.tree.num_pages,
            idle_contexts=len(self.idle),
            **gauges,
        )

    def check_integrity(self, running: Iterable[PageTable] = ()) -> None:
        """Raise AssertionError unless page counts equal the actual holders."""
        self.tree.check_integrity()
        self.idle.check_integrity()
        held = list(self.tree.pages())
        lent = self._lower.tables() if self._lower is not None else ()
        for table in (*running, *self.idle, *lent):
            assert len(table.pages) >= self.pool.pages_for(table.num_computed), "KV without page"
            path = reversed(list(table.node.path())) if table.node is not None else ()
            named = [page for node in path for page in node.pages]
            assert table.pages[: len(named)] == named, "other pages than the tree's"
            assert table.node is None or table.node.space == table.namespace, "another namespace"
            held += table.pages
        self.pool.check_integrity(held)

    def _cost(self, start: int, end: int) -> float:
        return self._price(start, end) / (end - start) if self._price and end > start else 0.0
