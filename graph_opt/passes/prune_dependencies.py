"""Remove the ordering edges that no effect requires, so that independent calls run in parallel.

A traced graph carries the program's order: each call is after the one before. Only an order between
nodes that access the same outside state is observable (`ops.Access`), so exactly that order is
kept, also where it led through other nodes. Maps without effects run their items in parallel.

    %i = ingest %docs null [engine="s"]
    %e = embed %q [engine="e"] after %i
    %h = search null %q %e [engine="s"] after %e
    ->
    %i = ingest %docs null [engine="s"]
    %e = embed %q [engine="e"]
    %h = search null %q %e [engine="s"] after %i
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from graph_opt.analysis.order import Order
from graph_opt.graph import Graph, Node
from graph_opt.ops import Access, access, has_effects
from graph_opt.rewrite import in_bodies, rewrite


def prune_dependencies(graph: Graph) -> Graph:
    """The graph with only the control edges that keep an observable order."""
    graph = in_bodies(graph, prune_dependencies)
    needed = _needed_edges(graph)

    def relax(node: Node, _: Graph) -> Sequence[Node] | None:
        attrs = node.attrs
        if node.bodies and not has_effects(node):
            attrs = {key: value for key, value in node.attrs.items() if key != "order"}
        if (attrs, needed[node.name]) == (node.attrs, node.after):
            return None
        return [replace(node, attrs=attrs, after=needed[node.name])]

    return rewrite(graph, relax, recurse=False)


def _needed_edges(graph: Graph) -> dict[str, tuple[str, ...]]:
    program, kept, touching = Order(graph), Order(graph), _Touching()
    needed: dict[str, tuple[str, ...]] = {}
    for index, node in enumerate(graph.nodes):
        mine = access(node)
        seen = program.add(node, node.after) & touching.in_conflict(mine)
        edges: list[str] = []
        while missing := seen & ~kept.before(node, edges):
            edges.insert(0, graph.nodes[missing.bit_length() - 1].name)  # the latest first
        needed[node.name] = tuple(edges)
        kept.add(node, edges)
        touching.add(index, mine)
    return needed


class _Touching:
    """The nodes so far that touch outside state, by what they touch."""

    def __init__(self) -> None:
        self.readers: defaultdict[str, int] = defaultdict(int)
        self.writers: defaultdict[str, int] = defaultdict(int)

    def add(self, index: int, touched: Access) -> None:
        for name in touched.reads:
            self.readers[name] |= 1 << index
        for name in touched.writes:
            self.writers[name] |= 1 << index

    def in_conflict(self, mine: Access) -> int:
        found = 0
        for name in mine.reads | mine.writes:
            found |= self.writers[name]
        for name in mine.writes:
            found |= self.readers[name]
        return found
