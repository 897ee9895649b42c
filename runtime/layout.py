"""What a graph needs to be run, worked out once and shared by all queries of the same plan."""

from collections.abc import Mapping
from dataclasses import dataclass

from graph_opt.analysis.depth import depth
from graph_opt.graph import Graph, Node, Ref
from graph_opt.ops import OPS, overlaps_readers


@dataclass(frozen=True, slots=True)
class Layout:
    """A graph with its edges in the shape the scheduler reads. Immutable."""

    graph: Graph
    nodes: Mapping[str, Node]
    indegree: Mapping[str, int]  # node -> nodes it waits for
    followers: Mapping[str, tuple[str, ...]]  # node -> nodes that wait for its end
    early: Mapping[str, tuple[str, ...]]  # node -> nodes that read its stream from its begin on
    uses: Mapping[str, int]  # value -> nodes that read it, plus one if the graph returns it
    depth: Mapping[str, int]
    bodies: Mapping[str, tuple["Layout", ...]]  # map, cond or loop node -> its bodies


def layout_of(graph: Graph) -> Layout:
    """Index `graph` and the bodies in it."""
    names = [node.name for node in graph.nodes]
    followers: dict[str, list[str]] = {name: [] for name in names}
    early: dict[str, list[str]] = {name: [] for name in names}
    uses = {value: 0 for node in graph.nodes for value in node.outputs}
    indegree = {}
    for node in graph.nodes:
        parents = graph.parents(node)
        indegree[node.name] = len(parents)
        for parent in parents:
            table = early if _runs_beside(node, parent) else followers
            table[parent.name].append(node.name)
        for value in set(node.inputs):
            uses[value] += 1
    for value in graph.outputs:
        uses[value] += 1
    return Layout(
        graph=graph,
        nodes={node.name: node for node in graph.nodes},
        indegree=indegree,
        followers={name: tuple(after) for name, after in followers.items()},
        early={name: tuple(after) for name, after in early.items()},
        uses=uses,
        depth=depth(graph),
        bodies={n.name: tuple(map(layout_of, n.bodies)) for n in graph.nodes if n.bodies},
    )


def reads_streams(node: Node) -> bool:
    """Whether any input of the node is taken in pieces."""
    return any(isinstance(arg, Ref) and arg.stream for arg in node.args)


def _runs_beside(node: Node, parent: Node) -> bool:
    """Whether the node reads all it reads of its parent as a stream that the parent gives early."""
    gives_early = overlaps_readers(parent) and (
        reads_streams(parent) or OPS[parent.op].writes_text or bool(parent.bodies)
    )
    if not gives_early or parent.name in node.after:
        return False
    read = [arg for arg in node.args if isinstance(arg, Ref) and arg.name in parent.outputs]
    return bool(read) and all(arg.stream for arg in read)
