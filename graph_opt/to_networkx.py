"""A graph as a networkx `MultiDiGraph`: for networkx's algorithms, layouts and file formats."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from graph_opt.graph import Graph, Node, Ref
from graph_opt.ops import OPS

if TYPE_CHECKING:
    import networkx as nx


def to_networkx(graph: Graph) -> nx.MultiDiGraph:
    """See `Graph.to_networkx`."""
    import networkx as nx

    drawn = nx.MultiDiGraph(name=graph.name, outputs=graph.outputs)
    for node in graph.nodes:
        drawn.add_node(
            node.name,
            op=node.op,
            engine_kind=OPS[node.op].engine_kind,
            outputs=node.outputs,
            args=node.args,
            attrs=dict(node.attrs),
            origin=node.origin,
            bodies=tuple(to_networkx(body) for body in node.bodies),
        )
        for source, value, kind in _edges(graph, node):
            drawn.add_edge(source, node.name, key=value, value=value, kind=kind)
    return drawn


def _edges(graph: Graph, node: Node) -> Iterator[tuple[str, str, str]]:
    read = {arg.name: arg for arg in reversed(node.args) if isinstance(arg, Ref)}
    for value in dict.fromkeys(node.inputs):
        yield graph.producer(value).name, value, "stream" if read[value].stream else "data"
    for name in node.after:
        yield name, "", "control"
