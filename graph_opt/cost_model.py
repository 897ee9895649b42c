"""The cost of a primitive, as passes and analyses read it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

from graph_opt.analysis.critical_path import bottom_levels
from graph_opt.graph import Graph, Node
from graph_opt.ops import OPS
from graph_opt.paths import expected_bodies


class CostModel(Protocol):
    """Expected seconds of primitives; not for nodes with bodies, see `span_s`."""

    def seconds(self, node: Node) -> float:
        """How long an idle engine needs for the node, the cost of the call included."""
        ...


class UnitCost:
    """One second for each primitive on an engine: counts them, where nothing was profiled."""

    def seconds(self, node: Node) -> float:
        return 0.0 if OPS[node.op].engine_kind is None else 1.0


def span_s(node: Node, cost: CostModel) -> float:
    """From the node's start to its end, with engines enough for all that can run side by side.

    Of a `cond` the longer branch counts, of a `loop` one turn, of a `map` one item, of an `attempt`
    what is tried, of a `first` the shortest.
    """
    if node.bodies:
        lengths = [length_s(body, cost) for body in expected_bodies(node)]
        return min(lengths) if node.op == "first" else max(lengths)
    return cost.seconds(node)


def work_s(nodes: Iterable[Node], cost: CostModel) -> float:
    """All seconds of engines that the nodes ask for; bodies count as in `span_s`."""
    return sum(_work_s(node, cost) for node in nodes)


def _work_s(node: Node, cost: CostModel) -> float:
    if node.bodies:
        return max(work_s(body.nodes, cost) for body in expected_bodies(node))
    return cost.seconds(node)


def busy_s(graph: Graph, cost: CostModel, engines: Collection[str]) -> float:
    """The seconds that a graph asks of these engines, one primitive after another."""
    total = 0.0
    for node in graph.nodes:
        if node.bodies:
            total += max(busy_s(body, cost, engines) for body in expected_bodies(node))
        elif node.attrs.get("engine") in engines:
            total += cost.seconds(node)
    return total


def length_s(graph: Graph, cost: CostModel) -> float:
    """The critical path."""
    levels = bottom_levels(graph, lambda node: span_s(node, cost))
    return max(levels.values(), default=0.0)
