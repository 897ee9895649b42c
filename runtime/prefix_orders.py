"""In which order a prompt takes its documents, where that is free: as prompts before it had them.

Behind one head, documents that earlier prompts read in this order are in the prefix cache, and the
longest such beginning is taken (RAGCache, arXiv 2404.12457, orders requests so; here it orders the
documents of one). The others follow as they were given.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.cost.sizes import num_tokens
from runtime.value_text import to_text

MAX_DOCUMENTS = 1 << 14  # in one tree: more than a cache holds
MAX_STEPS = 256  # of a search, whose documents may have come in many orders
MAX_HEADS = 256


Order = Callable[[str, Sequence[Any]], list[Any]]  # a head and items -> the items


@dataclass(slots=True)
class _Read:
    """A document that a prompt read behind those above it; the children read last come first."""

    children: OrderedDict[int, _Read] = field(default_factory=OrderedDict)


class PrefixOrders:
    """A tree of documents for each head of each tenant."""

    def __init__(self) -> None:
        self._trees: OrderedDict[Hashable, _Tree] = OrderedDict()  # least recently used first

    def order(self, tenant: str | None, head: str, items: Sequence[Any]) -> list[Any]:
        """The items in the order to read them, which is remembered."""
        tree = self._trees.setdefault((tenant, head), _Tree())
        self._trees.move_to_end((tenant, head))
        if len(self._trees) > MAX_HEADS:
            self._trees.popitem(last=False)
        return tree.order(items)


class _Tree:
    def __init__(self) -> None:
        self._root = _Read()
        self._num_documents = 0
        self._steps_left = 0

    def order(self, items: Sequence[Any]) -> list[Any]:
        texts = [to_text(item) for item in items]
        keys = [hash(text) for text in texts]
        sizes = dict(zip(keys, map(num_tokens, texts), strict=True))
        self._steps_left = MAX_STEPS
        _, known = self._longest(self._root, sizes)
        waiting = list(range(len(items)))
        order = [_take(waiting, keys, key) for key in known] + waiting
        self._remember([keys[index] for index in order])
        return [items[index] for index in order]

    def _longest(self, above: _Read, sizes: dict[int, float]) -> tuple[float, list[int]]:
        """The tokens of the longest path through documents that are there, and its documents."""
        best: tuple[float, list[int]] = (0.0, [])
        for key, read in reversed(above.children.items()):
            if key not in sizes or not self._steps_left:
                continue
            self._steps_left -= 1
            others = {other: size for other, size in sizes.items() if other != key}
            behind, path = self._longest(read, others)
            if sizes[key] + behind > best[0]:
                best = sizes[key] + behind, [key, *path]
        return best

    def _remember(self, keys: Sequence[int]) -> None:
        above = self._root
        for key in keys:
            self._num_documents += key not in above.children
            read = above.children.setdefault(key, _Read())
            above.children.move_to_end(key)
            above = read
        while self._num_documents > MAX_DOCUMENTS:
            _, gone = self._root.children.popitem(last=False)
            self._num_documents -= _num_documents(gone)


def _take(waiting: list[int], keys: Sequence[int], key: int) -> int:
    """The first waiting place of a document, which waits no more."""
    index = next(index for index in waiting if keys[index] == key)
    waiting.remove(index)
    return index


def _num_documents(read: _Read) -> int:
    return 1 + sum(map(_num_documents, read.children.values()))
