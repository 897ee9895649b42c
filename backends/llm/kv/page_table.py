"""What every holder of pages has: a sequence, a context, an adapter, a load from a lower tier."""

from backends.llm.kv.eviction.use import Use
from backends.llm.kv.radix_node import RadixNode
from backends.llm.kv.tiers.load import Load
from backends.llm.requests.namespace import SHARED, Namespace


class PageTable:
    """The pages of one token sequence, in order; the first `num_computed` tokens have KV.

    The first pages, up to the end of `node`, are those that the tree names for these tokens."""

    __slots__ = ("is_released", "load", "namespace", "node", "num_computed", "pages", "use")

    def __init__(self, namespace: Namespace = SHARED) -> None:
        self.namespace = namespace
        self.pages: list[int] = []
        self.num_computed = 0
        self.node: RadixNode | None = None  # the tree node this table keeps locked
        self.load: Load | None = None  # brings more of its KV from a lower tier
        self.use = Use()  # as an idle context
        self.is_released = False  # its context is gone

    @property
    def is_loading(self) -> bool:
        """KV is on its way: wait for it instead of computing it."""
        return self.load is not None and not self.load.is_taken

    @property
    def num_named(self) -> int:
        """Tokens whose pages the tree names."""
        return self.node.end if self.node is not None else 0
