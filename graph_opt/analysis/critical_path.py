"""The longest path through a graph under a cost function, and how far each node is from its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from graph_opt.graph import Graph, Node

Cost: TypeAlias = "Callable[[Node], float]"  # node -> seconds


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """The chain of nodes that no parallelism can shorten, and how long it takes."""

    length_s: float
    nodes: tuple[Node, ...]


def bottom_levels(graph: Graph, cost: Cost) -> dict[str, float]:
    """For each node, the longest path from its start to the end of the graph, itself included."""
    levels: dict[str, float] = {}
    for node in reversed(graph.nodes):
        ahead = max((levels[child.name] for child in graph.children(node)), default=0.0)
        levels[node.name] = cost(node) + ahead
    return levels


def critical_path(graph: Graph, cost: Cost) -> CriticalPath:
    """The longest path over data and control edges; of equal ones, the first in node order."""
    levels = bottom_levels(graph, cost)
    path: list[Node] = []
    ahead = graph.nodes
    while ahead:
        path.append(max(ahead, key=lambda node: levels[node.name]))
        ahead = graph.children(path[-1])
    return CriticalPath(levels[path[0].name] if path else 0.0, tuple(path))
