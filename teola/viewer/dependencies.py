"""Which spans a span waited for: the edges of the graph, with maps expanded to what really ran.

Inline primitives are seen through. A map ends when all of its items have; the first primitives of
an item wait for what the map waits for and, in a sequential map, for the item before.
"""

import re
from collections.abc import Iterable, Mapping

from graph_opt.graph import Graph, Node

_BODY = re.compile(r"(\[[\d.]+\]|\{\w+\})\.")


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
        self.bodies_of = _bodies(self.paths)
        self.pieces_of = _pieces(self.paths)
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
        if pieces := self.pieces_of.get(path):
            self.deps.update(dict.fromkeys(pieces, before or opening))
            return frozenset(pieces)
        if not node.bodies:
            return before
        is_sequential = node.op == "loop" or node.attrs.get("order") == "sequential"
        return self._walk_bodies(node, path, before or opening, is_sequential)

    def _walk_bodies(
        self, node: Node, path: str, opening: frozenset[str], is_sequential: bool
    ) -> frozenset[str]:
        ends: list[frozenset[str]] = []
        for suffix in self.bodies_of.get(path, ()):
            opened = (ends[-1] if is_sequential and ends else opening) or opening
            body = node.bodies[1 if suffix == "{else}" else 0]
            ends.append(self.walk(body, f"{path}{suffix}.", opened))
        return _union(ends) or opening


def _bodies(paths: Iterable[str]) -> dict[str, list[str]]:
    """The bodies that ran of each node, as they stand in paths: `[0]`, `[2.1]`, `{then}`."""
    found: dict[str, set[str]] = {}
    for path in paths:
        for match in _BODY.finditer(path):
            found.setdefault(path[: match.start()], set()).add(match[1])
    return {path: sorted(suffixes, key=_place) for path, suffixes in found.items()}


def _pieces(paths: Iterable[str]) -> dict[str, list[str]]:
    """The spans of each node: one, or one for each piece of a streamed node."""
    found: dict[str, list[str]] = {}
    for path in paths:
        found.setdefault(path.partition("#")[0], []).append(path)
    return found


def _place(suffix: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", suffix))


def _union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*sets)
