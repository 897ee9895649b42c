"""Which edges can be read as streams: in the same order of effects, and without a deadlock."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TypeAlias

from graph_opt.graph import Arg, Graph, Node, Ref
from graph_opt.ops import Access, access, overlaps_readers
from graph_opt.rewrite import are_same

Makers: TypeAlias = "Callable[[Node, int], Node | None]"  # node, arg -> its maker as it is now
Wish: TypeAlias = "Callable[[Node, Makers], Collection[int]]"  # the args to read as streams


def open_streams(graph: Graph, wish: Wish) -> Graph:
    """The graph with the wished edges read as streams, for each node all of them or none.

    A node that reads a stream runs beside the chain of streams before it, so it must not touch what
    a node of that chain touches. And as a slow reader holds up its makers, it must not wait for the
    end of one of them, nor for anybody who waits for such an end in turn. A map that takes its
    items one after another reads them whole, since those of a stream may come in any order.
    """
    opening = _Opening()
    nodes = tuple(opening.add(node, wish(node, opening.maker)) for node in graph.nodes)
    return graph if are_same(nodes, graph.nodes) else replace(graph, nodes=nodes)


_Event: TypeAlias = "tuple[str, bool]"  # a node, and whether it ends or starts


class _Opening:
    """The nodes so far, what runs beside what, and what waits for what."""

    def __init__(self) -> None:
        self.makers: dict[str, Node] = {}  # value -> node
        self.chains: dict[str, dict[str, Access]] = {}  # node -> what its readers run beside
        self.waits: dict[_Event, list[_Event]] = {}

    def maker(self, node: Node, index: int) -> Node | None:
        arg = node.args[index]
        return self.makers[arg.name] if isinstance(arg, Ref) else None

    def add(self, node: Node, wished: Collection[int]) -> Node:
        opened = _with_streams(node, wished)
        if opened is not node and not self.is_sound(opened):
            opened = node
        beside, start, end = self.beside(opened), (opened.name, False), (opened.name, True)
        self.waits[start] = [*self.ends_before(opened), *((name, False) for name in beside)]
        self.waits[end] = [start, *((name, True) for name in beside)]
        for name in beside:
            self.waits[name, True].append(start)
        if overlaps_readers(opened):
            self.chains[opened.name] = {**beside, opened.name: access(opened)}
        self.makers.update(dict.fromkeys(opened.outputs, opened))
        return opened

    def is_sound(self, node: Node) -> bool:
        if node.attrs.get("order") == "sequential":
            return False
        beside, mine = self.beside(node), access(node)
        if any(mine.conflicts(theirs) for theirs in beside.values()):
            return False
        return not self.waits_for_end_of(beside, node)

    def waits_for_end_of(self, names: Collection[str], node: Node) -> bool:
        ahead, seen = self.ends_before(node), set[_Event]()
        while ahead:
            event = ahead.pop()
            if event[1] and event[0] in names:
                return True
            if event not in seen:
                seen.add(event)
                ahead += self.waits[event]
        return False

    def ends_before(self, node: Node) -> list[_Event]:
        """What must end before the node starts."""
        makers = [
            self.makers[arg.name]
            for arg in node.args
            if isinstance(arg, Ref) and not (arg.stream and self.is_beside(arg))
        ]
        return [(name, True) for name in (*(maker.name for maker in makers), *node.after)]

    def is_beside(self, arg: Ref) -> bool:
        return self.makers[arg.name].name in self.chains

    def beside(self, node: Node) -> dict[str, Access]:
        chain: dict[str, Access] = {}
        for arg in node.args:
            if isinstance(arg, Ref) and arg.stream and self.is_beside(arg):
                chain |= self.chains[self.makers[arg.name].name]
        return chain


def _with_streams(node: Node, indices: Collection[int]) -> Node:
    args = tuple(_as_stream(arg) if i in indices else arg for i, arg in enumerate(node.args))
    return node if args == node.args else replace(node, args=args)


def _as_stream(arg: Arg) -> Arg:
    return Ref(arg.name, stream=True) if isinstance(arg, Ref) else arg
