"""Teola's reverse topological depth: 0 at the end, a parent one more than its deepest child.

Only engine ops count, not the inline nodes between them (Teola, algorithm 2: the deepest node of a
query is served first).
"""

from __future__ import annotations

from graph_opt.analysis.readiness import num_engine_ops
from graph_opt.graph import Graph


def depth(graph: Graph) -> dict[str, int]:
    """For each node, the engine ops still to run one after another once it is finished."""
    depths: dict[str, int] = {}
    for node in reversed(graph.nodes):
        children = graph.children(node)
        depths[node.name] = max(
            (depths[child.name] + num_engine_ops(child) for child in children), default=0
        )
    return depths
