"""How long a query still takes from the start of each node: the priority of the critical path.

The bottom level of list scheduling (HEFT's upward rank), over the expected seconds of primitives.
"""

from __future__ import annotations

from graph_opt.analysis.critical_path import bottom_levels
from graph_opt.cost_model import CostModel, span_s
from graph_opt.graph import Graph
from graph_opt.paths import bodies_of


def rank(graph: Graph, cost: CostModel) -> dict[str, float]:
    """For each node, by its path, the seconds from its start to the end of the query.

    A node of a body counts what is ahead of it in its own item or turn, then what follows the map.
    """
    return _rank(graph, cost, "", 0.0)


def _rank(graph: Graph, cost: CostModel, path: str, ahead_s: float) -> dict[str, float]:
    levels = bottom_levels(graph, lambda node: span_s(node, cost))
    ranks = {path + name: level + ahead_s for name, level in levels.items()}
    for node in graph.nodes:
        if node.bodies:
            later_s = ahead_s + levels[node.name] - span_s(node, cost)
            for inner, body in bodies_of(node, path):
                ranks |= _rank(body, cost, inner, later_s)
    return ranks
