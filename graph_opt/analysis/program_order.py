"""What must have ended before a node may start, so that a run means what the program says.

The order of the nodes is the program's. Two things of it can be seen: an effect must come after
all that stands before it and may fail, since the program would have stopped there; and who reads
outside state must come after those that wrote it before.
"""

from __future__ import annotations

from collections import defaultdict

from graph_opt.analysis.order import Order
from graph_opt.graph import Graph, Node
from graph_opt.ops import access, may_fail


def needed_edges(graph: Graph, keep: bool) -> dict[str, tuple[str, ...]]:
    """For each node the control edges that, with its inputs, put it behind what it must follow.

    As few as there can be; with `keep` they come on top of the edges it has.
    """
    order, earlier = Order(graph), _Earlier()
    places = {node.name: place for place, node in enumerate(graph.nodes)}
    needed: dict[str, tuple[str, ...]] = {}
    for index, node in enumerate(graph.nodes):
        own = node.after if keep else ()
        missing = earlier.to_follow(node) & ~order.before(node, own)
        edges: list[str] = []
        while missing:
            latest = graph.nodes[missing.bit_length() - 1].name
            edges.append(latest)
            missing &= ~order.at_end[latest]
        needed[node.name] = tuple(sorted((*own, *edges), key=places.__getitem__)) if edges else own
        order.add(node, needed[node.name])
        earlier.add(index, node)
    return needed


class _Earlier:
    """The nodes so far, as bits: those that may fail, and those that write some outside state."""

    def __init__(self) -> None:
        self.fallible = 0
        self.writers: defaultdict[str, int] = defaultdict(int)

    def add(self, index: int, node: Node) -> None:
        if may_fail(node):
            self.fallible |= 1 << index
        for name in access(node).writes:
            self.writers[name] |= 1 << index

    def to_follow(self, node: Node) -> int:
        touched = access(node)
        if touched.writes:  # who wrote or read before is among them, for all of that may fail
            return self.fallible
        found = 0
        for name in touched.reads:
            found |= self.writers[name]
        return found
