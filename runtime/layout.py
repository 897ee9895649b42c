"""What a graph needs to be run, worked out once and shared by all queries of the same plan."""

from collections.abc import Mapping
from dataclasses import dataclass

from graph_opt.analysis.depth import depth
from graph_opt.graph import Graph, Node


@dataclass(frozen=True, slots=True)
class Layout:
    """A graph with its edges in the shape the scheduler reads. Immutable."""

    graph: Graph
    nodes: Mapping[str, Node]
    indegree: Mapping[str, int]  # node -> nodes it waits for
    followers: Mapping[str, tuple[str, ...]]  # node -> nodes that wait for it
    uses: Mapping[str, int]  # value -> nodes that read it, plus one if the graph returns it
    depth: Mapping[str, int]
    bodies: Mapping[str, "Layout"]  # map node -> its body


def layout_of(graph: Graph) -> Layout:
    """Index `graph` and the bodies in it."""
    producer = {value: node.name for node in graph.nodes for value in node.outputs}
    before = {n.name: {producer[v] for v in n.inputs} | set(n.after) for n in graph.nodes}
    followers: dict[str, list[str]] = {node.name: [] for node in graph.nodes}
    uses = dict.fromkeys(producer, 0)
    for node in graph.nodes:
        for name in sorted(before[node.name]):
            followers[name].append(node.name)
        for value in set(node.inputs):
            uses[value] += 1
    for value in graph.outputs:
        uses[value] += 1
    return Layout(
        graph=graph,
        nodes={node.name: node for node in graph.nodes},
        indegree={name: len(names) for name, names in before.items()},
        followers={name: tuple(names) for name, names in followers.items()},
        uses=uses,
        depth=depth(graph),
        bodies={n.name: layout_of(n.body) for n in graph.nodes if n.body is not None},
    )
