"""Read lists item by item where their makers give them so (Teola's stage decomposition).

No node is copied and no number of items need be known: how many are taken at a time is for the
runtime, which knows the batches that pay. A list that is whole at once is not cut for nothing, and
what has effects takes it whole, when nothing before it can fail any more.

    %m = map %queries { ... }
    %f = flatten %m
    %r = rerank %q %f [engine="r"]
    ->
    %m = map %queries { ... }
    %f = flatten ~%m
    %r = rerank %q ~%f [engine="r"]
"""

from __future__ import annotations

from collections.abc import Collection

from graph_opt.analysis.begin import reads_streams
from graph_opt.analysis.open_streams import Makers, open_streams
from graph_opt.graph import Graph, Node
from graph_opt.ops import elementwise, streams_out
from graph_opt.rewrite import in_bodies


def stream_stages(graph: Graph) -> Graph:
    """The graph with streams between nodes that can work on parts of a list at the same time."""
    return open_streams(in_bodies(graph, stream_stages), _wish)


def _wish(node: Node, makers: Makers) -> Collection[int]:
    return [i for i in elementwise(node) if _gives_pieces(makers(node, i))]


def _gives_pieces(maker: Node | None) -> bool:
    if maker is None or not streams_out(maker):
        return False
    return maker.op == "map" or reads_streams(maker)
