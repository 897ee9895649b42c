"""The pages of a table and its lock in the tree, which change together.

table   7 3 9 4 .      the first pages, up to the end of `node`, are those that the tree names;
        └─┬─┘          the table holds each page once and keeps `node` locked
         node
"""

from collections.abc import Callable

from backends.llm.kv.page_pool import PagePool
from backends.llm.kv.page_table import PageTable
from backends.llm.kv.radix import RadixNode, RadixTree


class PageHolders:
    """Of one pool and its tree. `copy_page(source, target)` copies KV."""

    def __init__(
        self, pool: PagePool, tree: RadixTree, copy_page: Callable[[int, int], None]
    ) -> None:
        self.pool = pool
        self.tree = tree
        self._copy_page = copy_page

    def share(self, table: PageTable, num_tokens: int) -> PageTable:
        """A second holder of the first `num_tokens`, which is no use of them."""
        other = PageTable(table.namespace)
        other.is_private = table.is_private
        other.num_computed = num_tokens
        other.pages = table.pages[: self.pool.pages_for(num_tokens)]
        for page in other.pages:
            self.pool.hold(page)
        self.relock(other, table.node)
        return other

    def match_tree(self, table: PageTable, ids: list[int]) -> int:
        """Take what the tree has of `ids`; returns how many tokens that adds."""
        first = table.num_named // self.pool.page_size
        found = self.tree.match_prefix(ids, table.namespace, table.node)
        if table.is_private or not found.pages:
            return 0
        gained = max(0, found.node.end - table.num_computed)
        if gained:
            self.cut(table, first + len(found.pages))
            table.num_computed = found.node.end
        self.replace(table, found.pages, first)
        self.relock(table, found.node)
        return gained

    def peek(self, ids: list[int], table: PageTable) -> list[int]:
        """The pages that `match_tree` would leave in the table; nothing changes."""
        first = table.num_named // self.pool.page_size
        found = self.tree.peek(ids, table.namespace, table.node)
        return table.pages[:first] + found

    def truncate(self, table: PageTable, num_tokens: int) -> None:
        """Forget tokens from `num_tokens` on."""
        table.num_computed = min(table.num_computed, num_tokens)
        if table.node is not None:
            self.relock(table, self.tree.ancestor(table.node, table.num_computed))
        self.cut(table, self.pool.pages_for(table.num_computed))

    def drop(self, table: PageTable) -> None:
        """Give everything back; the table is then empty and may be used again."""
        node, num_written = table.node, table.num_computed
        self.cut(table, 0)
        table.num_computed = 0
        table.is_private = False  # what is computed again is exact
        table.load = None
        self.relock(table, None)
        if node is not None and node.end > num_written:
            self._forget_unwritten(node, num_written)

    def num_missing(self, table: PageTable, num_tokens: int) -> int:
        """Pages to take before the table can take tokens up to `num_tokens`."""
        num_new = max(0, self.pool.pages_for(num_tokens) - len(table.pages))
        return num_new + self.is_tail_shared(table)

    def is_tail_shared(self, table: PageTable) -> bool:
        """Whether the next token would be written to a page with other readers."""
        page, used = divmod(table.num_computed, self.pool.page_size)
        return bool(used) and self.pool.is_shared(table.pages[page])

    def copy_tail(self, table: PageTable) -> None:
        """Make the page of the next token its own."""
        at = table.num_computed // self.pool.page_size
        own = self.pool.take()
        self._copy_page(table.pages[at], own)
        self.pool.drop(table.pages[at])
        table.set_page(at, own)

    def replace(self, table: PageTable, pages: list[int], first: int) -> None:
        """Point the entries from `first` on at the tree's pages, which hold the same tokens."""
        for i, page in enumerate(pages, first):
            if i == len(table.pages):
                self.pool.hold(page)
                table.pages.append(page)
            elif table.pages[i] != page:
                self.pool.hold(page)
                self.pool.drop(table.pages[i])
                table.set_page(i, page)

    def cut(self, table: PageTable, num_pages: int) -> None:
        """Give back the pages from `num_pages` on, which no token needs."""
        self.drop_pages(table.cut(num_pages))

    def drop_pages(self, pages: list[int]) -> None:
        """One holder less each; the first is the first to be taken again."""
        for page in reversed(pages):
            self.pool.drop(page)

    def relock(self, table: PageTable, node: RadixNode | None) -> None:
        """The tree names its pages up to the end of `node`."""
        self.tree.move_lock(table.node, node)
        table.node = node

    def _forget_unwritten(self, node: RadixNode, num_written: int) -> None:
        """The step that was to write published pages failed. They have no other holder, or `forget`
        drops them."""
        kept = self.tree.ancestor(node, num_written)
        below = next(step for step in node.path() if step.parent is kept)
        if not below.locks:
            self.drop_pages(self.tree.remove(below))
