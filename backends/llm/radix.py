"""A radix tree over token ids, whole pages at a time: which prefixes have KV, and on which pages.

    root ── [sys page, sys page] ─┬─ [question A]
                                  └─ [question B, answer B]

The tree names pages and counts nothing: its owner (`kv_cache`) holds one reference for each page
the tree names. A locked node and all above it are never evicted. Leaves go least recently used
first, from their last page. Algorithm: RadixAttention (arXiv 2312.07104).
"""

import heapq
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass


class RadixNode:
    """One edge of the tree: `key` tokens and the pages that hold them."""

    __slots__ = ("children", "is_queued", "key", "last_used", "locks", "pages", "parent")

    def __init__(self, key: list[int], pages: list[int], parent: "RadixNode | None") -> None:
        self.key = key
        self.pages = pages
        self.parent = parent  # None for a root and for a node that was evicted
        self.children: dict[tuple[int, ...], RadixNode] = {}  # by their first page of tokens
        self.locks = 0
        self.last_used = 0
        self.is_queued = False  # stands in the eviction heap


@dataclass(frozen=True, slots=True)
class Match:
    """The longest prefix the tree holds: its pages and the node it ends at."""

    pages: list[int]
    node: RadixNode


class RadixTree:
    """All prefixes with KV; `extra_key` keeps namespaces (adapters, salts) apart."""

    def __init__(self, page_size: int) -> None:
        assert page_size >= 1, "a page holds at least one token"
        self.page_size = page_size
        self.num_pages = 0
        self._roots: dict[Hashable, RadixNode] = {}
        self._clock = 0  # logical time: one tick a match
        self._heap: list[tuple[int, int, RadixNode]] = []  # (last_used, tie breaker, leaf)
        self._num_queued = 0

    def match_prefix(self, ids: Sequence[int], extra_key: Hashable = None) -> Match:
        """Walk as far as whole pages agree; splits the edge on which they stop to agree."""
        self._clock += 1
        node = self._roots.setdefault(extra_key, RadixNode([], [], None))
        pages: list[int] = []
        pos = 0
        while child := node.children.get(tuple(ids[pos : pos + self.page_size])):
            shared = self._shared_len(child.key, ids, pos)
            node = child if shared == len(child.key) else self._split(child, shared)
            node.last_used = self._clock
            pages += node.pages
            pos += shared
        return Match(pages, node)

    def insert(
        self, ids: Sequence[int], pages: Sequence[int], extra_key: Hashable = None
    ) -> tuple[list[int], RadixNode]:
        """Name `pages` for `ids` (whole pages). Returns the pages that stood there already, which
        replace the first of `pages`, and the node of the last token; the rest are new."""
        assert len(ids) == len(pages) * self.page_size, "insert takes whole pages"
        match = self.match_prefix(ids, extra_key)
        num_known = len(match.pages)
        if num_known == len(pages):
            return match.pages, match.node
        key = list(ids[num_known * self.page_size :])
        leaf = RadixNode(key, list(pages[num_known:]), match.node)
        leaf.last_used = self._clock
        match.node.children[self._first_page(leaf)] = leaf
        self.num_pages += len(leaf.pages)
        self._queue(leaf)
        return match.pages, leaf

    def lock(self, node: RadixNode) -> None:
        """Keep the node and all above it from eviction until as many `unlock`s."""
        for step in _path(node):
            step.locks += 1

    def unlock(self, node: RadixNode) -> None:
        for step in _path(node):
            assert step.locks > 0, "unlock without lock"
            step.locks -= 1
        self._queue(node)

    def evict(self, num_pages: int) -> list[int]:
        """Forget up to `num_pages` unlocked pages, least recently used leaves first."""
        gone: list[int] = []
        while len(gone) < num_pages and self._heap:
            last_used, _, node = heapq.heappop(self._heap)
            node.is_queued = False
            if last_used != node.last_used:
                self._queue(node)  # used since it was queued: back in its new place
            elif self._is_evictable(node):
                gone += self._shrink(node, num_pages - len(gone))
        self.num_pages -= len(gone)
        return gone

    def pages(self) -> Iterator[int]:
        """Every page the tree names."""
        for node in self._nodes():
            yield from node.pages

    def check_integrity(self) -> None:
        """Raise AssertionError when the tree contradicts itself."""
        named: list[int] = []
        for node in self._nodes():
            assert len(node.key) == len(node.pages) * self.page_size, "key and pages differ"
            assert node.pages or node.parent is None, "an empty edge"
            assert node.locks >= sum(c.locks for c in node.children.values()), "lock not on path"
            assert node.is_queued or not self._is_evictable(node), "a leaf eviction cannot see"
            for first, child in node.children.items():
                assert child.parent is node, "child of another parent"
                assert first == self._first_page(child), "child under another key"
            named += node.pages
        assert len(named) == len(set(named)), "a page stands in the tree twice"
        assert len(named) == self.num_pages, "page count is off"

    def _shared_len(self, key: list[int], ids: Sequence[int], pos: int) -> int:
        size = self.page_size
        end = min(len(key), (len(ids) - pos) // size * size)
        if key[:end] == list(ids[pos : pos + end]):
            return end
        for i in range(0, end, size):
            if key[i : i + size] != list(ids[pos + i : pos + i + size]):
                return i
        raise AssertionError("unequal slices without a differing page")

    def _split(self, node: RadixNode, at: int) -> RadixNode:
        """Cut an edge in two; the upper part is new and carries the same locks."""
        parent, num_pages = node.parent, at // self.page_size
        assert parent is not None, "a root has no edge to split"
        upper = RadixNode(node.key[:at], node.pages[:num_pages], parent)
        upper.locks, upper.last_used = node.locks, node.last_used
        parent.children[self._first_page(upper)] = upper
        node.key, node.pages, node.parent = node.key[at:], node.pages[num_pages:], upper
        upper.children[self._first_page(node)] = node
        return upper

    def _shrink(self, leaf: RadixNode, num_pages: int) -> list[int]:
        if num_pages < len(leaf.pages):
            gone = leaf.pages[-num_pages:]
            del leaf.pages[-num_pages:]
            del leaf.key[-num_pages * self.page_size :]
            self._queue(leaf)
            return gone
        parent = leaf.parent
        assert parent is not None, "a root is never evicted"
        del parent.children[self._first_page(leaf)]
        leaf.parent = None
        self._queue(parent)
        return leaf.pages

    def _queue(self, node: RadixNode) -> None:
        if self._is_evictable(node) and not node.is_queued:
            node.is_queued = True
            self._num_queued += 1
            heapq.heappush(self._heap, (node.last_used, self._num_queued, node))

    def _is_evictable(self, node: RadixNode) -> bool:
        return node.parent is not None and not node.locks and not node.children

    def _first_page(self, node: RadixNode) -> tuple[int, ...]:
        return tuple(node.key[: self.page_size])

    def _nodes(self) -> Iterator[RadixNode]:
        stack = list(self._roots.values())
        while stack:
            node = stack.pop()
            yield node
            stack += node.children.values()


def _path(node: RadixNode) -> Iterator[RadixNode]:
    step: RadixNode | None = node
    while step is not None:
        yield step
        step = step.parent
