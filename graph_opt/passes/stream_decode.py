"""Use the elements of a list while the model still writes the next (Teola's decode pipelining).

A list taken out of a parsed text and read item by item is found by `elements` in the text as it
grows; at the end that also checks the text as a whole, as `parse` did, and in its place. Only where
the declared type lets each item stand for itself: the attr `items` says so, and how one is read.

    %json, %c2 = decode %c1 [engine="m"]
    %q = parse %json [type="Queries"]
    %list = get %q [items="Queries.queries", list=true, path=["queries"]]
    %m = map %list { ... }
    ->
    %json, %c2 = decode %c1 [engine="m"]
    %list = elements ~%json [items="Queries.queries", path=["queries"], type="Queries"]
    %m = map ~%list { ... }
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from graph_opt.analysis.open_streams import Makers, open_streams
from graph_opt.analysis.order import Order
from graph_opt.graph import Graph, Json, Node, Ref
from graph_opt.ops import OPS, elementwise
from graph_opt.plain import in_program_order
from graph_opt.rewrite import Replacement, in_bodies, rewrite


def stream_decode(graph: Graph) -> Graph:
    """The graph in which lists that a model writes are used element by element."""
    graph = in_bodies(graph, stream_decode)
    found = [written for node in graph.nodes if (written := _find(node, graph))]
    if not found:
        return graph
    read = _read_as_streams(_with_elements(graph, found))
    used = [written for written in found if written.elements.name in read]
    return _with_elements(graph, used) if used else graph


@dataclass(frozen=True, slots=True)
class _Written:
    """A list in a text that a model writes: what gives it from the text, and what gave it."""

    elements: Node
    parse: str  # the node that reads the text, whose place `elements` takes
    gets: tuple[str, ...]  # the nodes between, the list's own first


def _find(node: Node, graph: Graph) -> _Written | None:
    if node.op == "elements":
        return _Written(node, node.name, ()) if _is_written(node, graph) else None
    if "items" not in node.attrs:
        return None
    *gets, first = _parsing(node, graph)
    if first.op != "parse" or not _is_written(first, graph):
        return None
    path = [step for get in reversed(gets) for step in _path(get)]
    if not all(isinstance(step, str) for step in path) or any(get.after for get in gets):
        return None
    attrs: dict[str, Json] = {
        "type": first.attrs["type"],
        "path": path,
        "items": node.attrs["items"],
    }
    elements = Node(node.outputs, "elements", first.args, attrs, first.after, origin=first.origin)
    return _Written(elements, first.name, tuple(get.name for get in gets))


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


def _with_elements(graph: Graph, found: Sequence[_Written]) -> Graph:
    made: defaultdict[str, list[Node]] = defaultdict(list)
    for written in found:
        made[written.parse].append(written.elements)
    lists = {written.elements.name for written in found}
    unread = _unread(graph, found)

    def put(node: Node, _: Graph) -> Replacement | None:
        if node.name in made:
            elements = made[node.name]
            if node.name in lists:
                return Replacement(elements)
            if node.name in unread:
                return Replacement(elements, rename={node.name: elements[0].name})
            return Replacement([node, *elements])
        return Replacement() if node.name in unread or node.name in lists else None

    result = in_program_order(rewrite(graph, put, recurse=False))
    result = open_streams(result, lambda node, makers: _wish(node, makers, lists))
    return _without_implied_edges(result, lists)


def _without_implied_edges(graph: Graph, lists: Collection[str]) -> Graph:
    """A list comes earlier than it did: what follows it may now do so by its other edges."""
    order = Order(graph)

    def drop(node: Node, _: Graph) -> Sequence[Node] | None:
        after = node.after
        for name in (one for one in after if one in lists):
            others = tuple(other for other in after if other != name)
            after = others if order.before(node, others) & order.bit[name] else after
        order.add(node, after)
        return None if after == node.after else [replace(node, after=after)]

    return rewrite(graph, drop, recurse=False)


def _wish(node: Node, makers: Makers, lists: Collection[str]) -> Collection[int]:
    if node.name in lists:
        return (0,)
    given = ((i, makers(node, i)) for i in elementwise(node))
    return [i for i, maker in given if maker is not None and maker.name in lists]


def _read_as_streams(graph: Graph) -> set[str]:
    args = (arg for node in graph.nodes for arg in node.args)
    return {arg.name for arg in args if isinstance(arg, Ref) and arg.stream}


def _unread(graph: Graph, found: Iterable[_Written]) -> set[str]:
    """The nodes that parsed for these lists only."""
    lists = {written.elements.name for written in found}
    parsing = {name for written in found for name in (*written.gets, written.parse)} - lists
    unread, read = set[str](), set(graph.outputs)
    for node in reversed(graph.nodes):
        if node.name in parsing and node.name not in read:
            unread.add(node.name)
        elif node.name not in lists:
            read.update(node.inputs)
    return unread
