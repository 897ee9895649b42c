"""Which edges can be read as streams: in the same order of effects, and without a deadlock."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import TypeAlias

from graph_opt.graph import Arg, Graph, Node, Ref
from graph_opt.ops import Access, access, overlaps_readers
from graph_opt.rewrite import are_same

Makers: TypeAlias = "Callable[[Node, int], Node | None]"  # node, arg -> its maker as it is now
Wish: TypeAlias = "Callable[[Node, Makers], Collection[int]]"  # the args to read as streams


def open_streams(graph: Graph, wish: Wish) -> Graph:
    """The graph with the wished edges read as streams, for each node all of them or none.

    A node that reads a stream runs beside the chain of streams before it, so it must not look at
    what a node of that chain writes (it writes nothing itself: `ops.elementwise`). And as a slow
    reader holds up its makers, it must not wait for the end of one of them, nor for anybody who
    waits for such an end in turn. A map that takes its items one after another reads them whole,
    since those of a stream may come in any order.
    """
    opening = _Opening()
    nodes = tuple(opening.add(node, wish(node, opening.maker)) for node in graph.nodes)
    return graph if are_same(nodes, graph.nodes) else replace(graph, nodes=nodes)


_Event: TypeAlias = "tuple[str, str]"  # a node, and one of: starts, ends, is held up by a reader
START, END, HELD = "start", "end", "held"


NOTHING = Access()


@dataclass(frozen=True, slots=True)
class _Chain:
    """A node that gives a stream, with the streams before it: what its readers run beside."""

    bits: int = 0  # the nodes of the chain, by their numbers
    access: Access = NOTHING

    def __or__(self, other: _Chain) -> _Chain:
        return _Chain(self.bits | other.bits, self.access | other.access)


class _Opening:
    """The nodes so far, what runs beside what, and what waits for what.

    An event waits only for those next to it: from node to node along a chain the waiting goes on by
    itself, so a long chain costs as much for each of its nodes as a short one.
    """

    def __init__(self) -> None:
        self.makers: dict[str, Node] = {}  # value -> node
        self.chains: dict[str, _Chain] = {}  # node that gives a stream -> its chain
        self.bits: dict[str, int] = {}  # node that gives a stream -> its own bit
        self.waits: dict[_Event, list[_Event]] = {}
        self.settled: set[_Event] = set()  # they wait for no end of a node that gives a stream

    def maker(self, node: Node, index: int) -> Node | None:
        arg = node.args[index]
        return self.makers[arg.name] if isinstance(arg, Ref) else None

    def add(self, node: Node, wished: Collection[int]) -> Node:
        opened = _with_streams(node, wished)
        if opened is not node and not self.is_sound(opened):
            opened = node
        name, beside = opened.name, self.beside(opened)
        self.waits[name, START] = [*self.ends_before(opened), *((one, START) for one in beside)]
        self.waits[name, END] = [(name, START), *((one, END) for one in beside)]
        if overlaps_readers(opened):
            self.waits[name, HELD] = []
            self.waits[name, END].append((name, HELD))
            self.bits[name] = 1 << len(self.bits)
            self.chains[name] = self.chain(beside) | _Chain(self.bits[name], access(opened))
        for one in beside:
            self.waits[one, HELD].append((name, START))
            if name in self.chains:
                self.waits[one, HELD].append((name, HELD))
        self.makers.update(dict.fromkeys(opened.outputs, opened))
        return opened

    def is_sound(self, node: Node) -> bool:
        if node.attrs.get("order") == "sequential":
            return False
        chain = self.chain(self.beside(node))
        return not access(node).conflicts(chain.access) and not self.waits_for_end_in(chain, node)

    def waits_for_end_in(self, chain: _Chain, node: Node) -> bool:
        starts = [(one, START) for one in self.beside(node)]  # one of them may wait for another
        ahead, seen, is_settled = [*self.ends_before(node), *starts], set[_Event](), True
        while ahead:
            event = ahead.pop()
            if event in seen or event in self.settled:
                continue
            seen.add(event)
            name, kind = event
            if kind == END and name in self.chains:
                if self.bits[name] & chain.bits:
                    return True
                is_settled = False
            ahead += self.waits[event]
        if is_settled:  # and stays so: only what is held up by a reader gets more to wait for
            self.settled |= seen
        return False

    def ends_before(self, node: Node) -> list[_Event]:
        """What must end before the node starts."""
        makers = [
            self.makers[arg.name]
            for arg in node.args
            if isinstance(arg, Ref) and not (arg.stream and self.is_beside(arg))
        ]
        return [(name, END) for name in (*(maker.name for maker in makers), *node.after)]

    def is_beside(self, arg: Ref) -> bool:
        return self.makers[arg.name].name in self.chains

    def beside(self, node: Node) -> list[str]:
        """The nodes whose streams it reads, each once."""
        refs = [arg for arg in node.args if isinstance(arg, Ref) and arg.stream]
        return list(
            dict.fromkeys(self.makers[arg.name].name for arg in refs if self.is_beside(arg))
        )

    def chain(self, names: Collection[str]) -> _Chain:
        return reduce(or_, (self.chains[name] for name in names), _Chain())


def _with_streams(node: Node, indices: Collection[int]) -> Node:
    args = tuple(_as_stream(arg) if i in indices else arg for i, arg in enumerate(node.args))
    return node if args == node.args else replace(node, args=args)


def _as_stream(arg: Arg) -> Arg:
    return Ref(arg.name, stream=True) if isinstance(arg, Ref) else arg
