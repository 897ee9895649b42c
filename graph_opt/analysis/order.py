"""Which nodes are finished before others start, by data and control; sets of nodes are int bits.

A node that reads a whole value starts after its maker is finished. One that reads a stream only
starts after its maker has started; it ends after its maker, whose last item it takes.

Part of compiling, so not by networkx: bits of one `int` a node take a thirtieth of the time of
`transitive_closure_dag`, and streams have no counterpart there.
"""

from __future__ import annotations

from collections.abc import Sequence

from graph_opt.graph import Graph, Node, Ref
from graph_opt.ops import overlaps_readers


class Order:
    """The order among the first nodes of a graph; `add` places the next."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.bit: dict[str, int] = {}
        self.at_start: dict[str, int] = {}  # node -> those finished when it starts
        self.at_end: dict[str, int] = {}  # the same and itself, when it ends

    def add(self, node: Node, after: Sequence[str]) -> int:
        """Place the next node, after these; what is finished before it starts."""
        started = self.before(node, after)
        self.bit[node.name] = 1 << len(self.bit)
        ended = started | self.bit[node.name]
        for arg in node.args:
            if isinstance(arg, Ref) and arg.stream:
                ended |= self.at_end[self.graph.producer(arg.name).name]
        self.at_start[node.name], self.at_end[node.name] = started, ended
        return started

    def before(self, node: Node, after: Sequence[str]) -> int:
        """What is finished before the node starts, if it is after these."""
        finished = 0
        for name in after:
            finished |= self.at_end[name]
        for arg in node.args:
            if isinstance(arg, Ref):
                maker = self.graph.producer(arg.name)
                is_beside = arg.stream and overlaps_readers(maker)
                finished |= (self.at_start if is_beside else self.at_end)[maker.name]
        return finished
