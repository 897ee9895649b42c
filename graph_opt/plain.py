"""The plain graph: what a traced program means, in the program's own order.

Work on engines that nobody uses is no part of it. An effect comes after all before it
that may fail, also after what the tracer draws no edge for (reading a field, joining texts).

    %ok = parse %text [type="Order"]                %ok = parse %text [type="Order"]
    %sent = call "x" [fn="send"]              ->    %sent = call "x" [fn="send"] after %ok
    %all = pack %ok %sent                           %all = pack %ok %sent
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graph_opt.analysis.program_order import needed_edges
from graph_opt.graph import Graph, Node
from graph_opt.passes.cull import cull
from graph_opt.rewrite import in_bodies, rewrite


def as_written(graph: Graph) -> Graph:
    """The graph to run as it is, and to compare optimised ones with."""
    return in_program_order(cull(graph))


def in_program_order(graph: Graph) -> Graph:
    """The graph with the edges that it lacks to keep effects, and looks at them, in their place."""
    graph = in_bodies(graph, in_program_order)
    needed = needed_edges(graph, keep=True)

    def tie(node: Node, _: Graph) -> Sequence[Node] | None:
        if needed[node.name] == node.after:
            return None
        return [replace(node, after=needed[node.name])]

    return rewrite(graph, tie, recurse=False)
