"""Read lists item by item where their makers give them so (Teola's stage decomposition).

No node is copied and no number of items need be known: how many are taken at a time is for the
runtime, which knows the batches that pay. An embedding is made in pieces where its reader takes
pieces; a list that is whole at once is not cut for nothing.

    %v = embed %docs [engine="e"]
    %i = ingest %docs %v [engine="s"]
    %m = map %queries { ... }
    %f = flatten %m
    %r = rerank %q %f [engine="r"]
    ->
    %v = embed ~%docs [engine="e"]
    %i = ingest ~%docs ~%v [engine="s"]
    %m = map %queries { ... }
    %f = flatten ~%m
    %r = rerank %q ~%f [engine="r"]
"""

from __future__ import annotations

from collections.abc import Collection

from graph_opt.analysis.open_streams import Makers, open_streams
from graph_opt.graph import Graph, Node, Ref
from graph_opt.ops import OPS, elementwise, streams_out
from graph_opt.rewrite import in_bodies


def stream_stages(graph: Graph) -> Graph:
    """The graph with streams between nodes that can work on parts of a list at the same time."""
    graph = in_bodies(graph, stream_stages)
    asked = set(_read_in_pieces(graph))

    def wish(node: Node, makers: Makers) -> Collection[int]:
        if node.op == "elements":  # reads a text: for the pass stream_decode
            return ()
        indices = elementwise(node)
        given = [i for i in indices if _gives_pieces(makers(node, i))]
        if node.op == "ingest":
            return _docs_with_vectors(node, given, makers)
        if node.op == "embed" and node.name in asked and not _is_text(makers(node, 0)):
            return indices
        return given

    return open_streams(graph, wish)


def _read_in_pieces(graph: Graph) -> Collection[str]:
    """The values that a node which needs a list takes item by item, if they come so."""
    return {
        arg.name
        for node in graph.nodes
        if node.op != "embed"  # of a list or of one text
        for arg in (node.args[i] for i in elementwise(node))
        if isinstance(arg, Ref)
    }


def _gives_pieces(maker: Node | None) -> bool:
    if maker is None or not streams_out(maker):
        return False
    return maker.op == "map" or _reads_stream(maker)


def _is_text(maker: Node | None) -> bool:
    return maker is not None and OPS[maker.op].writes_text


def _docs_with_vectors(node: Node, given: Collection[int], makers: Makers) -> Collection[int]:
    """Docs and vectors go in pairs, so both must come from one list, each item from one of it."""
    if len(node.args) == 1 or node.args[1] is None:
        return given
    docs, vectors = (_list_behind(node, index, makers) for index in (0, 1))
    return (0, 1) if 1 in given and docs == vectors else ()


def _list_behind(node: Node, index: int, makers: Makers) -> str | None:
    """The list whose items those of this arg follow one by one: its own, if they follow none."""
    arg, maker = node.args[index], makers(node, index)
    keeps_all = maker is not None and maker.attrs.get("on_error") != "skip"
    if maker is not None and keeps_all and maker.op in ("embed", "map") and _reads_stream(maker):
        return _list_behind(maker, 0, makers)
    return arg.name if isinstance(arg, Ref) else None


def _reads_stream(node: Node) -> bool:
    return any(isinstance(arg, Ref) and arg.stream for arg in node.args)
