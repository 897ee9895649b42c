"""How late a value is ready: the number of engine ops in the longest chain behind it.

The rank needs no profile: it compares values of one graph, it does not estimate seconds.
"""

from __future__ import annotations

from graph_opt.graph import Graph, Node
from graph_opt.ops import OPS
from graph_opt.paths import expected_bodies


def readiness(graph: Graph) -> dict[str, int]:
    """For each node, the engine ops in the longest chain that ends with it; O(nodes + edges)."""
    ranks: dict[str, int] = {}
    for node in graph.nodes:
        behind = max((ranks[parent.name] for parent in graph.parents(node)), default=0)
        ranks[node.name] = behind + num_engine_ops(node)
    return ranks


def num_engine_ops(node: Node) -> int:
    """Engine ops the node runs one after another: 1 on an engine, the longest chain of a body.

    The longer branch of a `cond` counts, and the body of a `loop` once; of an `attempt` what is
    tried.
    """
    if node.bodies:
        return max(
            (rank for body in expected_bodies(node) for rank in readiness(body).values()), default=0
        )
    return 0 if OPS[node.op].engine_kind is None else 1
