"""Who holds which page: the radix tree, running sequences and idle contexts.

Every holder has a `PageTable`. Pages come from the free list, then from unlocked leaves of the
tree, then from the idle context used longest ago. Whoever lost its pages still has its token ids
and computes again, or finds them in the tree.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable

from backends.llm.page_pool import PagePool
from backends.llm.radix import RadixNode, RadixTree


class PageTable:
    """The pages of one token sequence, in order; the first `num_computed` tokens have KV."""

    __slots__ = ("node", "num_computed", "pages")

    def __init__(self) -> None:
        self.pages: list[int] = []
        self.num_computed = 0
        self.node: RadixNode | None = None  # the tree node this table keeps locked


class KVCache:
    """Owns all pages. `copy_page(source, target)` copies KV when a shared page is written."""

    def __init__(
        self, num_pages: int, page_size: int, copy_page: Callable[[int, int], None]
    ) -> None:
        self.pool = PagePool(num_pages, page_size)
        self.tree = RadixTree(page_size)
        self._copy_page = copy_page
        self._idle: OrderedDict[PageTable, None] = OrderedDict()  # least recently used first

    def fork(self, parent: PageTable) -> PageTable:
        """A second holder of the same tokens; the parent counts as just used."""
        if parent in self._idle:
            self._idle.move_to_end(parent)
        child = PageTable()
        child.num_computed = parent.num_computed
        child.pages = parent.pages[: self.pool.pages_for(parent.num_computed)]
        for page in child.pages:
            self.pool.hold(page)
        self._relock(child, parent.node)
        return child

    def match(self, table: PageTable, ids: list[int]) -> int:
        """Take what the tree has of `ids`; returns how many tokens that adds."""
        found = self.tree.match_prefix(ids)
        if not found.pages:
            return 0
        matched = len(found.pages) * self.pool.page_size
        gained = max(0, matched - table.num_computed)
        if gained:
            self._cut(table, len(found.pages))
            table.num_computed = matched
        self._replace(table, found.pages)
        self._relock(table, found.node)
        return gained

    def reserve(self, table: PageTable, num_tokens: int) -> bool:
        """Make the table able to take tokens up to `num_tokens`, its next page private. False,
        and nothing changed for the table, when even eviction cannot make room."""
        while self._num_missing(table, num_tokens) > self.pool.num_free:
            if not self._reclaim(self._num_missing(table, num_tokens) - self.pool.num_free):
                return False
        if self._is_tail_shared(table):
            self._copy_tail(table)
        while len(table.pages) < self.pool.pages_for(num_tokens):
            table.pages.append(self.pool.take())
        return True

    def publish(self, table: PageTable, ids: list[int], num_tokens: int) -> None:
        """Name the full pages of the first `num_tokens` in the tree, for others to match.

        They may be published before the step that writes them: every layer writes all new KV
        before any row reads, so rows of the same step may already share them."""
        num_pages = num_tokens // self.pool.page_size
        if not num_pages:
            return
        pages = table.pages[:num_pages]
        known, node = self.tree.insert(ids[: num_pages * self.pool.page_size], pages)
        for page in pages[len(known) :]:
            self.pool.hold(page)  # the tree's own reference
        self._replace(table, known)
        self._relock(table, node)

    def truncate(self, table: PageTable, num_tokens: int) -> None:
        """Forget tokens from `num_tokens` on."""
        table.num_computed = min(table.num_computed, num_tokens)
        self._cut(table, self.pool.pages_for(table.num_computed))

    def retire(self, table: PageTable) -> None:
        """From now on an idle context: keeps its pages until others need them."""
        self._cut(table, self.pool.pages_for(table.num_computed))
        self._idle[table] = None

    def drop(self, table: PageTable) -> None:
        """Give everything back; the table is then empty and may be used again."""
        self._idle.pop(table, None)
        self._cut(table, 0)
        table.num_computed = 0
        self._relock(table, None)

    def forget(self) -> None:
        """Empty the tree of all that nobody holds."""
        self._drop_pages(self.tree.evict(self.tree.num_pages))

    def check_integrity(self, running: Iterable[PageTable] = ()) -> None:
        """Raise AssertionError unless page counts equal the actual holders."""
        self.tree.check_integrity()
        held = list(self.tree.pages())
        for table in (*running, *self._idle):
            assert len(table.pages) >= self.pool.pages_for(table.num_computed), "KV without page"
            held += table.pages
        self.pool.check_integrity(held)

    def _num_missing(self, table: PageTable, num_tokens: int) -> int:
        num_new = max(0, self.pool.pages_for(num_tokens) - len(table.pages))
        return num_new + self._is_tail_shared(table)

    def _is_tail_shared(self, table: PageTable) -> bool:
        """Would the next token be written to a page that somebody else reads?"""
        page, used = divmod(table.num_computed, self.pool.page_size)
        return bool(used) and self.pool.is_shared(table.pages[page])

    def _copy_tail(self, table: PageTable) -> None:
        at = table.num_computed // self.pool.page_size
        own = self.pool.take()
        self._copy_page(table.pages[at], own)
        self.pool.drop(table.pages[at])
        table.pages[at] = own

    def _reclaim(self, num_pages: int) -> bool:
        """One round of eviction; False when there was nothing left to evict."""
        if evicted := self.tree.evict(num_pages):
            self._drop_pages(evicted)
            return True
        if self._idle:
            self.drop(next(iter(self._idle)))
            return True
        return False

    def _replace(self, table: PageTable, pages: list[int]) -> None:
        """Point the first entries at the tree's pages, which hold the same tokens."""
        for i, page in enumerate(pages):
            if i == len(table.pages):
                self.pool.hold(page)
                table.pages.append(page)
            elif table.pages[i] != page:
                self.pool.hold(page)
                self.pool.drop(table.pages[i])
                table.pages[i] = page

    def _cut(self, table: PageTable, num_pages: int) -> None:
        self._drop_pages(table.pages[num_pages:])
        del table.pages[num_pages:]

    def _drop_pages(self, pages: list[int]) -> None:
        for page in reversed(pages):
            self.pool.drop(page)

    def _relock(self, table: PageTable, node: RadixNode | None) -> None:
        if node is not None:
            self.tree.lock(node)
        if table.node is not None:
            self.tree.unlock(table.node)
        table.node = node
