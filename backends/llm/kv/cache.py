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
from backends.llm.kv.idle import IdleTables
from backends.llm.kv.next_use import idle_s
from backends.llm.kv.page_pool import PagePool
from backends.llm.kv.page_table import Load, PageTable
from backends.llm.kv.radix import RadixNode, RadixTree
from backends.llm.stats import CacheStats

TRIMS = 8  # a context that loses its pages does so in as many parts at most


class Lower(Protocol):
    """Where evicted pages of a cache go and come back from: see `tiers.tier_transfer`."""

    def save(self, cache: "KVCache", node: RadixNode, num_last: int) -> None:
        """The last pages of a node are about to go."""

    def load_rest(self, cache: "KVCache", table: PageTable, ids: list[int]) -> Load | None:
        """The load that brings the pages after those of the table, started if need be."""

    def tables(self) -> Iterable[PageTable]:
        """The tables that hold pages there."""


class Borrower(Protocol):
    """Has pages for something else than KV: see `lora.pool`."""

    def give_back(self, drop: Callable[[PageTable], None]) -> bool:
        """Drop the table of what is used least; False when all is in use."""


class KVCache:
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
        self.pool = PagePool(num_pages, page_size)
        self.tree = RadixTree(page_size, POLICIES[eviction], self._cost)
        self.stats = stats if stats is not None else CacheStats()
        self._price = price
        self._copy_page = copy_page
        self.idle = IdleTables(eviction, self._cost, clock)
        self._is_by_next_use = eviction == "next_use"
        self._clock = clock
        self._lower = lower
        self._borrower = borrower
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

    def share(self, table: PageTable, num_tokens: int) -> PageTable:
        """A second holder of the first `num_tokens`, which is no use of them."""
        other = PageTable(table.namespace)
        other.is_private = table.is_private
        other.num_computed = num_tokens
        other.pages = table.pages[: self.pool.pages_for(num_tokens)]
        for page in other.pages:
            self.pool.hold(page)
        self._relock(other, table.node)
        return other

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

    def match_tree(self, table: PageTable, ids: list[int]) -> int:
        """`match` without a look below."""
        first = table.num_named // self.pool.page_size
        found = self.tree.match_prefix(ids, table.namespace, table.node)
        if table.is_private or not found.pages:
            return 0
        gained = max(0, found.node.end - table.num_computed)
        if gained:
            self._cut(table, first + len(found.pages))
            table.num_computed = found.node.end
        self._replace(table, found.pages, first)
        self._relock(table, found.node)
        return gained

    def peek(self, ids: list[int], table: PageTable) -> list[int]:
        """The pages that `match` would find for the table; nothing changes."""
        first = table.num_named // self.pool.page_size
        found = self.tree.peek(ids, table.namespace, table.node)
        return table.pages[:first] + found

    def reserve(self, table: PageTable, num_tokens: int, spared_s: float | None = None) -> bool:
        """Make the table able to take tokens up to `num_tokens`, its next page private. False,
        and nothing changed for the table, when even eviction cannot make room, without contexts
        that are expected to be read within `spared_s`."""
        while (num_missing := self._num_missing(table, num_tokens)) > self.pool.num_free:
            if not self._reclaim(num_missing - self.pool.num_free, spared_s):
                return False
        if self._is_tail_shared(table):
            self._copy_tail(table)
        while len(table.pages) < self.pool.pages_for(num_tokens):
            table.pages.append(self.pool.take())
        return True

    def lengthen(self, table: PageTable, num_tokens: int) -> bool:
        """More pages behind those of a reserved table. False, and nothing changed for the table,
        when even eviction cannot make room."""
        while (num_new := self.pool.pages_for(num_tokens) - len(table.pages)) > self.pool.num_free:
            if not self._reclaim(num_new - self.pool.num_free):
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
        self._replace(table, known, first)
        self._relock(table, node)

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

    def truncate(self, table: PageTable, num_tokens: int) -> None:
        """Forget tokens from `num_tokens` on."""
        table.num_computed = min(table.num_computed, num_tokens)
        if table.node is not None:
            self._relock(table, self.tree.ancestor(table.node, table.num_computed))
        self._cut(table, self.pool.pages_for(table.num_computed))

    def retire(self, table: PageTable) -> None:
        """From now on an idle context: keeps its pages until others need them."""
        self._cut(table, self.pool.pages_for(table.num_computed))
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
        node, num_written = table.node, table.num_computed
        self._cut(table, 0)
        table.num_computed = 0
        table.is_private = False  # what is computed again is exact
        table.load = None
        self._relock(table, None)
        if node is not None and node.end > num_written:
            self._forget_unwritten(node, num_written)

    def release(self, table: PageTable) -> None:
        """Its context is gone: drop it for good, a pin with it."""
        table.is_released = True
        self.stats.freed_contexts += 1
        self.drop(table)

    def forget(self) -> None:
        """Drop everything in the tree without a holder."""
        self.unwritten.clear()
        self._drop_pages(self.tree.evict(self.tree.num_pages))

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

    def _num_missing(self, table: PageTable, num_tokens: int) -> int:
        num_new = max(0, self.pool.pages_for(num_tokens) - len(table.pages))
        return num_new + self._is_tail_shared(table)

    def _is_tail_shared(self, table: PageTable) -> bool:
        """Whether the next token would be written to a page with other readers."""
        page, used = divmod(table.num_computed, self.pool.page_size)
        return bool(used) and self.pool.is_shared(table.pages[page])

    def _copy_tail(self, table: PageTable) -> None:
        at = table.num_computed // self.pool.page_size
        own = self.pool.take()
        self._copy_page(table.pages[at], own)
        self.pool.drop(table.pages[at])
        table.set_page(at, own)

    def _reclaim(self, num_pages: int, spared_s: float | None = None) -> bool:
        """One round of eviction; False when there was nothing left to evict."""
        if self._borrower is not None and self._borrower.give_back(self.drop):
            return True
        save = partial(self._lower.save, self) if self._lower is not None else None
        if evicted := self.tree.evict(num_pages, save):
            self.stats.evicted_pages += len(evicted)
            self._drop_pages(evicted)
            return True
        table = self.idle.pop()
        if table is None:
            return False
        if spared_s is not None and idle_s(table.due_s, self._clock()) <= spared_s:
            self.idle.put_back(table)
            return False
        num_held = len(table.pages)
        if table.is_expected and table.num_computed > self.pool.page_size:
            self._trim(table, num_pages)
        else:
            self.drop(table)
        self._note_lost(num_held - len(table.pages))
        return True

    def _note_lost(self, num_pages: int) -> None:
        """A context lost pages. They are copied to a lower tier when they leave the tree too."""
        if self._lower is not None:
            self.stats.demoted_pages += num_pages
        else:
            self.stats.dropped_pages += num_pages

    def _trim(self, table: PageTable, num_pages: int) -> None:
        """Its last pages are no longer held. The others are: by the time that more is needed,
        another context may be the one that is read last."""
        num_pages = max(num_pages, len(table.pages) // TRIMS)
        kept = max(0, table.num_computed // self.pool.page_size - num_pages)
        self.truncate(table, kept * self.pool.page_size)
        if kept:
            self.idle.put_back(table)
        else:
            self.drop(table)

    def _forget_unwritten(self, node: RadixNode, num_written: int) -> None:
        """The step that was to write published pages failed. They have no other holder, or `forget`
        drops them."""
        kept = self.tree.ancestor(node, num_written)
        below = next(step for step in node.path() if step.parent is kept)
        if not below.locks:
            self._drop_pages(self.tree.remove(below))

    def _cost(self, start: int, end: int) -> float:
        return self._price(start, end) / (end - start) if self._price and end > start else 0.0

    def _replace(self, table: PageTable, pages: list[int], first: int) -> None:
        """Point the entries from `first` on at the tree's pages, which hold the same tokens."""
        for i, page in enumerate(pages, first):
            if i == len(table.pages):
                self.pool.hold(page)
                table.pages.append(page)
            elif table.pages[i] != page:
                self.pool.hold(page)
                self.pool.drop(table.pages[i])
                table.set_page(i, page)

    def _cut(self, table: PageTable, num_pages: int) -> None:
        self._drop_pages(table.cut(num_pages))

    def _drop_pages(self, pages: list[int]) -> None:
        for page in reversed(pages):
            self.pool.drop(page)

    def _relock(self, table: PageTable, node: RadixNode | None) -> None:
        self.tree.move_lock(table.node, node)
        table.node = node
