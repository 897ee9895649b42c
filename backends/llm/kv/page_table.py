"""What every holder of pages has: a sequence, a context, an adapter, a load from a lower tier."""

from dataclasses import dataclass
from typing import NamedTuple

from backends.llm.kv.eviction import Use
from backends.llm.kv.radix_node import RadixNode


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
