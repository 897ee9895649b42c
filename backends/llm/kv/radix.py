"""A radix tree over token ids, whole pages at a time: which prefixes have KV, and on which pages.

    root ── [sys page, sys page] ─┬─ [question A]
                                  └─ [question B, answer B]

The tree names pages and counts nothing: its owner (`cache`) holds one reference for each page the
tree names. A locked node and all above it are never evicted. Leaves go in the order of the
eviction policy, each from its last page. Algorithm: RadixAttention (arXiv 2312.07104).

The holder of a node continues from there (`start`), so that a long prompt is compared once and
not in every step.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

from backends.llm.kv.eviction import Cost, EvictionOrder, Policy, Rank, Use, lru, rank


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


@dataclass(frozen=True, slots=True)
class Match:
    """The longest prefix the tree holds: its pages from the start on, and the node it ends at."""

    pages: list[int]
    node: RadixNode


class RadixTree:
    """All prefixes with KV; `extra_key` keeps namespaces (adapters, salts) apart."""

    def __init__(self, page_size: int, policy: Policy = lru, cost: Cost = lambda *_: 0.0) -> None:
        assert page_size >= 1, "a page holds at least one token"
        self.page_size = page_size
        self.num_pages = 0
        self.num_pages_compared = 0  # the work of matching
        self.clock = 0  # logical time: one tick a use
        self.floor = 0.0  # highest score evicted so far
        self._policy = policy
        self._cost = cost
        self._roots: dict[Hashable, RadixNode] = {}
        self._leaves: EvictionOrder[RadixNode] = EvictionOrder(self._rank)

    def match_prefix(
        self,
        ids: list[int],
        extra_key: Hashable = None,
        start: RadixNode | None = None,
        end: int | None = None,
    ) -> Match:
        """Walk on from `start` (None: the root) as far as whole pages of ids[:end] agree; splits
        the edge on which they stop to agree."""
        self.clock += 1
        node = start if start is not None else self.root(extra_key)
        end = len(ids) if end is None else end
        pages: list[int] = []
        pos = node.end
        while pos + self.page_size <= end:
            self.num_pages_compared += 1
            child = node.children.get(tuple(ids[pos : pos + self.page_size]))
            if child is None:
                break
            shared = self._shared_len(child.key, ids, pos, end)
            node = child if shared == len(child.key) else self._split(child, shared)
            self._touch(node)
            pages += node.pages
            pos = node.end
        return Match(pages, node)

    def peek(
        self, ids: list[int], extra_key: Hashable = None, start: RadixNode | None = None
    ) -> list[int]:
        """The pages that `match_prefix` would find; nothing is touched or split."""
        node = start if start is not None else self._roots.get(extra_key)
        pages: list[int] = []
        pos, end = start.end if start is not None else 0, len(ids)
        while node is not None and pos + self.page_size <= end:
            node = node.children.get(tuple(ids[pos : pos + self.page_size]))
            if node is not None:
                shared = self._shared_len(node.key, ids, pos, end)
                pages += node.pages[: shared // self.page_size]
                pos += shared
                node = node if shared == len(node.key) else None
        return pages

    def insert(
        self,
        ids: list[int],
        pages: list[int],
        extra_key: Hashable = None,
        start: RadixNode | None = None,
    ) -> tuple[list[int], RadixNode]:
        """Name `pages` for the tokens that follow `start`. Returns the pages that stood there
        already, which replace the first of `pages`, and the node of the last token; the rest are
        new. The caller holds exactly one lock on `start`."""
        first = start.end if start is not None else 0
        end = first + len(pages) * self.page_size
        assert len(ids) >= end, "insert takes whole pages"
        match = self.match_prefix(ids, extra_key, start, end)
        node, known = match.node, match.pages
        if node.end == end:
            return known, node
        key, new = ids[node.end : end], pages[len(known) :]
        self.num_pages += len(new)
        if node is start and self._is_alone(node):  # a sequence that grows stays one edge
            node.key += key
            node.pages += new
            node.end = end
            return known, node
        leaf = RadixNode(key, new, node)
        if node.parent is None:
            self._roots[node.space] = node
        node.children[self._first_page(leaf)] = leaf
        self._touch(leaf)
        self._leaves.add(leaf)
        return known, leaf

    def root(self, extra_key: Hashable) -> RadixNode:
        """Kept while it has children; the number of namespaces over time is not bounded."""
        return self._roots.get(extra_key) or RadixNode([], [], None, extra_key)

    def touch(self, node: RadixNode) -> None:
        """One more use of all tokens up to `node`."""
        self.clock += 1
        for step in node.path():
            self._touch(step)

    def move_lock(self, old: RadixNode | None, new: RadixNode | None) -> None:
        """Lock `new` with all above it and unlock `old`, as one: evictable is what neither holds.
        Costs only the way between the two where `new` is below `old`."""
        above = set() if old is None else {old}
        for step in new.path() if new is not None else ():
            if step in above:
                return
            step.locks += 1
            if step.parent is None:
                root = self._roots.setdefault(step.space, step)
                assert root is step, "a node that left the tree"
        if old is not None:
            self.unlock(old)

    def lock(self, node: RadixNode) -> None:
        """Keep the node and all above it from eviction until as many `unlock`s."""
        self.move_lock(None, node)

    def unlock(self, node: RadixNode) -> None:
        for step in node.path():
            assert step.locks > 0, "unlock without lock"
            step.locks -= 1
            step.use.last_used = self.clock
        self._offer(node)
        self._forget_root(step)

    def ancestor(self, node: RadixNode, num_tokens: int) -> RadixNode:
        """The node above that ends with the last whole page of the first `num_tokens`."""
        end = num_tokens // self.page_size * self.page_size
        while node.end > end:
            if node.start < end:
                return self._split(node, end - node.start)
            assert node.parent is not None, "nothing above a root"
            node = node.parent
        return node

    def evict(
        self, num_pages: int, watch: Callable[[RadixNode, int], None] | None = None
    ) -> list[int]:
        """Forget up to `num_pages` unlocked pages. `watch` sees each leaf, and how many of its
        last pages are to go, while they are still there."""
        gone: list[int] = []
        while len(gone) < num_pages and (lowest := self._leaves.pop()):
            leaf, (score, _) = lowest
            if self._is_evictable(leaf):
                num_last = min(num_pages - len(gone), len(leaf.pages))
                if watch is not None:
                    watch(leaf, num_last)
                self.floor = max(self.floor, score)
                gone += self._shrink(leaf, num_last)
        self.num_pages -= len(gone)
        return gone

    def remove(self, node: RadixNode) -> list[int]:
        """Forget an unlocked node and all below it."""
        assert not node.locks, "it is locked"
        parent = node.parent
        assert parent is not None, "a root stays"
        gone: list[int] = []
        del parent.children[self._first_page(node)]
        for step in list(node.below()):
            self._leaves.discard(step)
            step.parent = None
            gone += step.pages
        self.num_pages -= len(gone)
        self._offer(parent)
        self._forget_root(parent)
        return gone

    def nodes(self) -> Iterator[RadixNode]:
        """All nodes, parents first; roots hold no page."""
        for root in self._roots.values():
            yield from root.below()

    def pages(self) -> Iterator[int]:
        """Every page the tree names."""
        for node in self.nodes():
            yield from node.pages

    def check_integrity(self) -> None:
        """Raise AssertionError when the tree contradicts itself."""
        named: list[int] = []
        for root in self._roots.values():
            assert root.children or root.locks, "a root with nothing below"
        for node in self.nodes():
            assert len(node.key) == len(node.pages) * self.page_size, "key and pages differ"
            assert len(node.digests) <= len(node.pages) or node.parent is None, "too many digests"
            assert node.pages or node.parent is None, "an empty edge"
            assert node.locks >= sum(c.locks for c in node.children.values()), "lock not on path"
            is_seen = node in self._leaves
            assert is_seen or not self._is_evictable(node), "a leaf eviction cannot see"
            for first, child in node.children.items():
                assert child.parent is node, "child of another parent"
                assert child.start == node.end, "child at another depth"
                assert child.space == node.space, "child of another namespace"
                assert first == self._first_page(child), "child under another key"
            named += node.pages
        assert len(named) == len(set(named)), "a page is in the tree twice"
        assert len(named) == self.num_pages, "page count is off"

    def _shared_len(self, key: list[int], ids: list[int], pos: int, end: int) -> int:
        size = self.page_size
        low, high = 1, min(len(key), end - pos) // size  # pages; the first is known to agree
        self.num_pages_compared += high - 1
        if key[size : high * size] == ids[pos + size : pos + high * size]:
            return high * size
        while low < high - 1:  # pages before low agree, some page before high does not
            middle = (low + high) // 2
            is_same = key[low * size : middle * size] == ids[pos + low * size : pos + middle * size]
            low, high = (middle, high) if is_same else (low, middle)
        return low * size

    def _split(self, node: RadixNode, at: int) -> RadixNode:
        """Cut an edge in two; the upper part is new and carries the same locks."""
        parent, num_pages = node.parent, at // self.page_size
        assert parent is not None, "a root has no edge to split"
        upper = RadixNode(node.key[:at], node.pages[:num_pages], parent)
        upper.locks, upper.digests = node.locks, node.digests[:num_pages]
        upper.use.last_used, upper.use.num_uses = node.use.last_used, node.use.num_uses
        upper.use.floor = node.use.floor
        upper.use.seconds_per_token = self._cost(upper.start, upper.end)
        parent.children[self._first_page(upper)] = upper
        node.key, node.pages, node.parent = node.key[at:], node.pages[num_pages:], upper
        node.digests = node.digests[num_pages:]
        upper.children[self._first_page(node)] = node
        return upper

    def _shrink(self, leaf: RadixNode, num_last: int) -> list[int]:
        if num_last < len(leaf.pages):
            gone = leaf.pages[-num_last:]
            del leaf.pages[-num_last:]
            del leaf.key[-num_last * self.page_size :]
            del leaf.digests[len(leaf.pages) :]
            leaf.end -= num_last * self.page_size
            self._offer(leaf)
            return gone
        parent = leaf.parent
        assert parent is not None, "a root is never evicted"
        del parent.children[self._first_page(leaf)]
        leaf.parent = None
        self._offer(parent)
        self._forget_root(parent)
        return leaf.pages

    def _forget_root(self, node: RadixNode) -> None:
        if self._roots.get(node.space) is node and not node.children and not node.locks:
            del self._roots[node.space]

    def _touch(self, node: RadixNode) -> None:
        node.use.note(self.clock, self.floor, self._cost(node.start, node.end))

    def _rank(self, node: RadixNode) -> Rank:
        return rank(node.use, self._policy)

    def _offer(self, node: RadixNode) -> None:
        if self._is_evictable(node):
            self._leaves.add(node)

    def _is_alone(self, node: RadixNode) -> bool:
        return node.parent is not None and node.locks == 1 and not node.children

    def _is_evictable(self, node: RadixNode) -> bool:
        return node.parent is not None and not node.locks and not node.children

    def _first_page(self, node: RadixNode) -> tuple[int, ...]:
        return tuple(node.key[: self.page_size])
