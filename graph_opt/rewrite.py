"""The driver of all passes: applies a rule to each node and keeps names and order consistent.

A rule answers `None` (keep the node), nodes to put in its place (none: drop it), or a
`Replacement`, which also says which earlier values now stand for the old ones. What was ordered
through a removed node stays ordered: its place passes to what replaces it and to its parents.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import is_
from typing import TypeAlias

from graph_opt.graph import Arg, Graph, Node, Ref


@dataclass(frozen=True, slots=True)
class Replacement:
    """Nodes to put in the place of a node, and earlier values to read instead of its own."""

    nodes: Sequence[Node] = ()
    rename: Mapping[str, str] = field(default_factory=dict)  # old value -> value to read instead


Rule: TypeAlias = "Callable[[Node, Graph], Replacement | Sequence[Node] | None]"


def rewrite(graph: Graph, rule: Rule, recurse: bool = True) -> Graph:
    """The graph after asking the rule about each node once, in order, bodies first.

    The rule sees each node as earlier answers left it (values renamed), and the graph before any.
    """
    rewriting = _Rewriting(graph)
    for old in graph.nodes:
        node = rewriting.update(old)
        if recurse and node.bodies:
            node = _with_bodies(node, lambda body: rewrite(body, rule))
        rewriting.answer(node, rule(node, graph))
    return rewriting.finish()


def in_bodies(graph: Graph, change: Callable[[Graph], Graph]) -> Graph:
    """The graph with `change` applied to each body of its nodes."""

    def rule(node: Node, _: Graph) -> Sequence[Node] | None:
        return [_with_bodies(node, change)] if node.bodies else None

    return rewrite(graph, rule, recurse=False)


def _with_bodies(node: Node, change: Callable[[Graph], Graph]) -> Node:
    changed = tuple(map(change, node.bodies))
    return node if are_same(changed, node.bodies) else replace(node, bodies=changed)


def drop(graph: Graph, names: Collection[str]) -> Graph:
    """The graph without these nodes, whose values must have no readers left."""
    return rewrite(graph, lambda node, _: () if node.name in names else None, recurse=False)


def substitute(args: Iterable[Arg], rename: Mapping[str, str]) -> tuple[Arg, ...]:
    """The args with the values they read renamed; streams stay streams."""
    return tuple(
        Ref(rename.get(arg.name, arg.name), arg.stream) if isinstance(arg, Ref) else arg
        for arg in args
    )


def are_same(left: Sequence[object], right: Sequence[object]) -> bool:
    """Whether both hold the very same objects, in order."""
    return len(left) == len(right) and all(map(is_, left, right))


def fresh_name(graph: Graph, wanted: str, taken: Collection[str] = ()) -> str:
    """The wanted name, or with underscores behind it where it is taken, in the graph or beside."""
    while wanted in graph or wanted in taken:
        wanted += "_"
    return wanted


class _Rewriting:
    """The state of one walk: the new nodes, and what became of the values and places of others."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.makers: dict[str, Node] = {}  # value -> new node
        self.rename: dict[str, str] = {}  # old value -> new value
        self.heirs: dict[str, tuple[str, ...]] = {}  # removed node -> nodes to be after instead
        self.owed: dict[str, tuple[str, ...]] = {}  # old value -> nodes its readers must be after

    def update(self, old: Node) -> Node:
        if not self.heirs and not self.rename:
            return old
        after = [heir for name in old.after for heir in self.heirs.get(name, (name,))]
        after += [name for value in old.inputs for name in self.owed.get(value, ())]
        args, order = substitute(old.args, self.rename), tuple(dict.fromkeys(after))
        is_same = (args, order) == (old.args, old.after)
        return old if is_same else replace(old, args=args, after=order)

    def answer(self, node: Node, answer: Replacement | Sequence[Node] | None) -> None:
        if answer is None:
            self.append([node])
        elif isinstance(answer, Replacement):
            self.append(answer.nodes)
            self.redirect(node, answer.rename)
            self.retire(node, answer)
        else:
            self.append(answer)
            self.retire(node, Replacement(answer))

    def append(self, nodes: Sequence[Node]) -> None:
        self.nodes += nodes
        self.makers.update({value: node for node in nodes for value in node.outputs})

    def redirect(self, node: Node, rename: Mapping[str, str]) -> None:
        for old, new in rename.items():
            maker = self.makers[new]
            known = {maker.name, *maker.after}
            self.rename[old] = new
            self.owed[old] = tuple(name for name in node.after if name not in known)

    def retire(self, node: Node, replacement: Replacement) -> None:
        if node.name in self.makers and self.makers[node.name].name == node.name:
            return
        standins = [*replacement.nodes, *(self.makers[new] for new in replacement.rename.values())]
        covered = {name for standin in standins for name in self.parents(standin)}
        parents = [name for name in self.parents(node) if name not in covered]
        self.heirs[node.name] = tuple(dict.fromkeys((*(new.name for new in standins), *parents)))

    def parents(self, node: Node) -> Iterator[str]:
        for value in node.inputs:
            yield from self.places(value)
        yield from node.after

    def places(self, value: str) -> tuple[str, ...]:
        """The nodes to be after instead of the one that makes or made this value."""
        maker = self.makers.get(value)
        if maker is None:
            name = self.graph.producer(value).name
            return self.heirs.get(name, (name,))
        return () if maker.op == "input" else (maker.name,)

    def finish(self) -> Graph:
        outputs = tuple(self.rename.get(value, value) for value in self.graph.outputs)
        if outputs == self.graph.outputs and are_same(self.nodes, self.graph.nodes):
            return self.graph
        return Graph(self.graph.name, tuple(self.nodes), outputs)
