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
    """For each node, the longest path from its start to the end of the graph, itself included.

    Part of compiling, so not by networkx: making its graph takes three times as long as this, and
    `dag_longest_path` again as long.
    """
    levels: dict[str, float] = {}
    for node in reversed(graph.nodes):
        ahead = max((levels[child.name] for child in graph.children(node)), default=0.0)
        levels[node.name] = cost(node) + ahead
    return levels


def critical_path(graph: Graph, cost: Cost) -> CriticalPath:
    """The longest path over data and control edges, without the nodes behind it that cost nothing.

    By networkx, whose import alone takes longer than compiling: for plans, not for queries.
    """
    import networkx as nx

    chained = nx.DiGraph(graph.to_networkx())
    firsts = [name for name, num_parents in chained.in_degree() if not num_parents]
    chained.add_edges_from((_START, name) for name in firsts)
    for _, name, edge in chained.edges(data=True):
        edge["weight"] = cost(graph.node(name))
    path = nx.dag_longest_path(chained)
    nodes = tuple(graph.node(name) for name in path if name != _START)
    return CriticalPath(sum(map(cost, nodes)), nodes)


_START = "%start"  # no node has this name
