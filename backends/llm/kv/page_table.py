"""What every holder of pages has: a sequence, a context, an adapter, a load from a lower tier."""

from backends.llm.kv.eviction import Use
from backends.llm.kv.radix_node import RadixNode
from backends.llm.kv.tiers.load import Load
from backends.llm.requests.namespace import SHARED, Namespace


class PageTable:
    """The pages of one token sequence, in order; the first `num_computed` tokens have KV.

    The first pages, up to the end of `node`, are those that the tree names for these tokens."""

    __slots__ = (
        *("is_released", "load", "namespace", "node"),
        *("num_computed", "num_listed", "pages", "row", "use"),
    )

    def __init__(self, namespace: Namespace = SHARED) -> None:
        self.namespace = namespace
        self.pages: list[int] = []
        self.num_computed = 0
        self.node: RadixNode | None = None  # the tree node this table keeps locked
        self.load: Load | None = None  # brings more of its KV from a lower tier
        self.use = Use()  # as an idle context
        self.is_released = False  # its context is gone
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
