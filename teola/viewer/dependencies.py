"""Which spans a span waited for: the edges of the graph, with maps expanded to what really ran.

Inline primitives are seen through. A map ends when all of its items have; the first primitives of
an item wait for what the map waits for and, in a sequential map, for the item before.
"""

import re
from collections.abc import Iterable, Mapping

from graph_opt.graph import Graph, Node

_ITEM = re.compile(r"\[(\d+)\]\.")


def dependencies(graph: Graph, paths: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """For each path of a span, the paths of those it waited for, in the order given."""
    expansion = _Expansion(paths)
    expansion.walk(graph, "", frozenset())
    order = {path: index for index, path in enumerate(expansion.paths)}
    deps = expansion.deps.items()
    return {path: tuple(sorted(before, key=order.__getitem__)) for path, before in deps}


class _Expansion:
    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = dict.fromkeys(paths)
        self.items_of = _items(self.paths)
        self.deps: dict[str, frozenset[str]] = {}

    def walk(self, graph: Graph, prefix: str, opening: frozenset[str]) -> frozenset[str]:
        """Fill `deps` for one graph, opened after `opening`; the spans that its end waits for."""
        behind: dict[str, frozenset[str]] = {}
        for node in graph.nodes:
            before = _union(behind[parent.name] for parent in graph.parents(node))
            behind[node.name] = self._behind(node, prefix + node.name, before, opening)
        return _union(behind[node.name] for node in graph.nodes if not graph.children(node))

    def _behind(
        self, node: Node, path: str, before: frozenset[str], opening: frozenset[str]
    ) -> frozenset[str]:
        if path in self.paths:
            self.deps[path] = before or opening
            return frozenset({path})
        if node.body is None:
            return before
        is_sequential = node.attrs.get("order") == "sequential"
        return self._walk_items(node.body, path, before or opening, is_sequential)

    def _walk_items(
        self, body: Graph, path: str, opening: frozenset[str], is_sequential: bool
    ) -> frozenset[str]:
        ends: list[frozenset[str]] = []
        for index in self.items_of.get(path, ()):
            opened = (ends[-1] if is_sequential and ends else opening) or opening
            ends.append(self.walk(body, f"{path}[{index}].", opened))
        return _union(ends) or opening


def _items(paths: Iterable[str]) -> dict[str, list[int]]:
    found: dict[str, set[int]] = {}
    for path in paths:
        for match in _ITEM.finditer(path):
            found.setdefault(path[: match.start()], set()).add(int(match[1]))
    return {path: sorted(indices) for path, indices in found.items()}


def _union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*sets)
