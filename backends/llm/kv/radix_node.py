"""One edge of the radix tree and the node at its end."""

from collections.abc import Hashable, Iterator

from backends.llm.kv.eviction import Use


class RadixNode:
    """`key` tokens and the pages that hold them; the tree alone changes it."""

    __slots__ = ("children", "digests", "end", "key", "locks", "pages", "parent", "space", "use")

    def __init__(
        self, key: list[int], pages: list[int], parent: "RadixNode | None", space: Hashable = None
    ) -> None:
        self.key = key
        self.pages = pages
        self.parent = parent  # None for a root and for a node that was evicted
        self.space: Hashable = parent.space if parent is not None else space
        self.end: int = (parent.end if parent is not None else 0) + len(key)  # tokens from the root
        self.children: dict[tuple[int, ...], RadixNode] = {}  # by their first page of tokens
        self.locks = 0
        self.use = Use()
        self.digests: list[bytes] = []  # of the first pages: see tiers.page_key, which fills it

    @property
    def start(self) -> int:
        return self.end - len(self.key)

    def path(self) -> Iterator["RadixNode"]:
        """The node and all above it, up to the root."""
        step: RadixNode | None = self
        while step is not None:
            yield step
            step = step.parent

    def below(self) -> Iterator["RadixNode"]:
        """The node and all below it, parents first."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack += node.children.values()
