"""Which spans a span waited for: the edges of the graph, with maps expanded to what really ran.

Inline primitives are seen through. A map ends when all of its items have; the first primitives of
an item wait for what the map waits for and, in a sequential map, for the item before. Those that
read a capture which came later wait for that too, and so does the end of the map.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from graph_opt.analysis.begin import late_captures
from graph_opt.graph import Graph, Node, Ref
from graph_opt.ops import OPS, body_names

_Spans: TypeAlias = frozenset[str]

_BODY = re.compile(r"(\[[\d.]+\]|\{\w+\})\.")


def dependencies(graph: Graph, paths: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """For each path of a span, the paths of those it waited for, in the order given."""
    expansion = _Expansion(paths)
    expansion.walk(graph, "", frozenset(), {})
    order = {path: index for index, path in enumerate(expansion.paths)}
    sets = dict.fromkeys(expansion.deps.values())  # the items of a map have one in common
    in_order = {before: tuple(sorted(before, key=order.__getitem__)) for before in sets}
    return {path: in_order[before] for path, before in expansion.deps.items()}


class _Expansion:
    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = dict.fromkeys(paths)
        self.bodies_of = _bodies(self.paths)
        self.pieces_of = _pieces(self.paths)
        self.deps: dict[str, _Spans] = {}

    def walk(
        self, graph: Graph, prefix: str, opening: _Spans, came: Mapping[str, _Spans]
    ) -> _Spans:
        """Fill `deps` for one graph, opened after `opening`; the spans that its end waits for.

        `came` has, for params that came later, the spans they come from.
        """
        behind: dict[str, _Spans] = {}
        late = late_captures(graph)
        for node in graph.nodes:
            late_makers = late.get(node.name, frozenset())
            later = {
                value: behind[maker]
                for value in node.inputs
                if (maker := graph.producer(value).name) in late_makers
            }
            parents = (each.name for each in graph.parents(node) if each.name not in late_makers)
            before = _union(behind[name] for name in parents)
            if node.name in came:
                before = opening | came[node.name]
            behind[node.name] = self._behind(node, prefix + node.name, before, opening, later)
        return _union(behind[node.name] for node in graph.nodes if not graph.children(node))

    def _behind(
        self, node: Node, path: str, before: _Spans, opening: _Spans, later: Mapping[str, _Spans]
    ) -> _Spans:
        if pieces := self.pieces_of.get(path):
            self.deps.update(dict.fromkeys(pieces, before or opening))
            return frozenset(pieces)
        if not node.bodies:
            return before
        return self._walk_bodies(node, path, before or opening, later)

    def _walk_bodies(
        self, node: Node, path: str, opening: _Spans, later: Mapping[str, _Spans]
    ) -> _Spans:
        in_turn = node.op in ("loop", "attempt")
        is_sequential = in_turn or node.attrs.get("order") == "sequential"
        names = list(body_names(node))
        ends: list[_Spans] = []
        for suffix in self.bodies_of.get(path, ()):
            opened = (ends[-1] if is_sequential and ends else opening) or opening
            body = node.bodies[names.index(suffix) if suffix in names else 0]
            came = _by_param(node, body, later)
            ends.append(self.walk(body, f"{path}{suffix}.", opened, came))
        return (_union(ends) or opening) | _union(later.values())


def _by_param(node: Node, body: Graph, later: Mapping[str, _Spans]) -> dict[str, _Spans]:
    """What came later, by the names that it has in the body."""
    args = node.args[OPS[node.op].params_from :]
    return {
        param.name: later[arg.name]
        for param, arg in zip(body.params, args, strict=True)
        if isinstance(arg, Ref) and arg.name in later
    }


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


def _union(sets: Iterable[_Spans]) -> _Spans:
    return frozenset[str]().union(*sets)
