"""Where a node is in a graph with bodies: `map[].search`, `judge{then}.answer`, `loop[].draft`."""

from __future__ import annotations

from collections.abc import Iterator

from graph_opt.graph import Graph, Node
from graph_opt.ops import body_names


def bodies_of(node: Node, path: str = "") -> Iterator[tuple[str, Graph]]:
    """Each body of the node with what the paths of its nodes begin with; `path` leads the node's.

    A run puts the number of the item or the turn between the brackets: `map[2].search`.
    """
    for name, body in zip(body_names(node), node.bodies, strict=True):
        yield f"{path}{node.name}{name}.", body


def expected_bodies(node: Node) -> tuple[Graph, ...]:
    """The bodies that run, or of which one runs, if nothing fails."""
    return node.bodies[:1] if node.op == "attempt" else node.bodies


def walk(graph: Graph, path: str = "") -> Iterator[tuple[str, Node, Graph]]:
    """All nodes with their paths and the graphs they are in, each before those of its bodies."""
    for node in graph.nodes:
        yield path + node.name, node, graph
        for inner, body in bodies_of(node, path):
            yield from walk(body, inner)
