"""Use the elements of a list while the model still writes the next (Teola's decode pipelining).

A field that is a list, taken out of a parsed text and read item by item, is found by `elements` in
the text as it grows; at the end that also checks the text as a whole, as `parse` did.

    %json, %c2 = decode %c1 [engine="m"]
    %q = parse %json [type="Queries"]
    %list = get %q [item="str", list=true, path=["queries"]]
    %m = map %list { ... }
    ->
    %json, %c2 = decode %c1 [engine="m"]
    %list = elements ~%json [item="str", path=["queries"], type="Queries"]
    %m = map ~%list { ... }
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from graph_opt.analysis.open_streams import Makers, Wish, open_streams
from graph_opt.graph import Graph, Json, Node, Ref
from graph_opt.ops import OPS, elementwise
from graph_opt.rewrite import drop, in_bodies, rewrite


def stream_decode(graph: Graph) -> Graph:
    """The graph in which lists that a model writes are used element by element."""
    graph = in_bodies(graph, stream_decode)
    found = {node.name: made for node in graph.nodes if (made := _as_elements(node, graph))}
    used = _read_as_streams(_with_elements(graph, found)) & found.keys() if found else ()
    if not used:
        return graph
    result = _with_elements(graph, {name: found[name] for name in used})
    return drop(result, _unread_parsing(result, [graph.node(name) for name in used], graph))


def _as_elements(node: Node, graph: Graph) -> Node | None:
    """What gives the node's list from the text itself, if a model wrote it."""
    if node.op != "elements" and node.attrs.get("list") is not True:
        return None
    *gets, first = _parsing(node, graph)
    if not _is_written(first, graph):
        return None
    if first.op == "elements":
        return first
    path = [step for get in reversed(gets) for step in _path(get)]
    if first.op != "parse" or not all(isinstance(step, str) for step in path):
        return None
    attrs: dict[str, Json] = {"type": first.attrs["type"], "path": path}
    attrs |= {"item": node.attrs["item"]} if "item" in node.attrs else {}
    after = tuple(dict.fromkeys(name for one in (first, *gets) for name in one.after))
    return Node(node.outputs, "elements", first.args, attrs, after, origin=first.origin)


def _parsing(node: Node, graph: Graph) -> Iterator[Node]:
    """The node and what it takes its value from, back to the one that reads the text."""
    yield node
    while node.op == "get" and isinstance(node.args[0], Ref):
        node = graph.producer(node.args[0].name)
        yield node


def _path(get: Node) -> list[Json]:
    path = get.attrs["path"]
    return path if isinstance(path, list) else [path]


def _is_written(node: Node, graph: Graph) -> bool:
    """Whether the node reads, whole, a text that a model writes."""
    text = node.args[0] if node.args else None
    if not isinstance(text, Ref) or text.stream:
        return False
    writer = graph.producer(text.name)
    return OPS[writer.op].writes_text and text.name == writer.name


def _with_elements(graph: Graph, made: Mapping[str, Node]) -> Graph:
    def put(node: Node, _: Graph) -> list[Node] | None:
        return [made[node.name]] if node.name in made else None

    return open_streams(rewrite(graph, put, recurse=False), _wish_for(made))


def _wish_for(lists: Collection[str]) -> Wish:
    def wish(node: Node, makers: Makers) -> Collection[int]:
        if node.name in lists:
            return (0,)
        if node.op == "ingest" and node.args[1:] not in ((), (None,)):
            return ()  # vectors cannot come from a text, and docs go with them in pairs
        given = ((i, makers(node, i)) for i in elementwise(node))
        return [i for i, maker in given if maker is not None and maker.name in lists]

    return wish


def _read_as_streams(graph: Graph) -> set[str]:
    args = (arg for node in graph.nodes for arg in node.args)
    return {arg.name for arg in args if isinstance(arg, Ref) and arg.stream}


def _unread_parsing(graph: Graph, lists: Collection[Node], before: Graph) -> set[str]:
    """The nodes that parsed for these lists only."""
    parsing = {node.name for found in lists for node in _parsing(found, before)} - {
        found.name for found in lists
    }
    unread, read = set[str](), set(graph.outputs)
    for node in reversed(graph.nodes):
        if node.name in parsing and node.name not in read:
            unread.add(node.name)
        else:
            read.update(node.inputs)
    return unread
