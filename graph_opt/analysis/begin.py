"""What a node waits for to begin: the end of its parents, but for two kinds of edges.

A node that reads a stream begins with the node that gives it. A node with bodies does not wait for
values that only its bodies read: the nodes of the bodies that read them wait.
"""

from __future__ import annotations

from graph_opt.graph import Graph, Node, Ref
from graph_opt.ops import OPS, Access, access, overlaps_readers


def reads_streams(node: Node) -> bool:
    """Whether any input of the node is taken in pieces."""
    return any(isinstance(arg, Ref) and arg.stream for arg in node.args)


def begins_beside(node: Node, parent: Node) -> bool:
    """Whether the node reads all it reads of its parent as a stream that the parent gives early."""
    gives_early = overlaps_readers(parent) and (
        reads_streams(parent) or OPS[parent.op].writes_text or bool(parent.bodies)
    )
    if not gives_early or parent.name in node.after:
        return False
    read = [arg for arg in node.args if isinstance(arg, Ref) and arg.name in parent.outputs]
    return bool(read) and all(arg.stream for arg in read)


def late_captures(graph: Graph) -> dict[str, frozenset[str]]:
    """Node with bodies -> makers of captures that may end after it has begun; it ends after them.

    Its bodies, and nodes that read its items as a stream, may then run before such a maker has
    ended, so they must touch nothing outside, or effects would change places. A map that takes its
    items one after another, as the plain graph does, keeps the program's order: it waits for all.
    """
    late: dict[str, frozenset[str]] = {}
    touching: set[str] = set()  # nodes that touch something, or whose items go to one that does
    for node in reversed(graph.nodes):
        beside = (child for child in graph.children(node) if begins_beside(child, node))
        if access(node) != Access() or any(child.name in touching for child in beside):
            touching.add(node.name)
        elif node.bodies and node.attrs.get("order") != "sequential":
            first = {graph.producer(arg.name).name for arg in node.args[:1] if isinstance(arg, Ref)}
            makers = {parent.name for parent in graph.parents(node)}
            late[node.name] = frozenset(makers - first - set(node.after))
    return late
