"""The graph at the level of the user's calls: calls and the values between them.

Nodes of one origin are one call. Nodes without an origin (`get`, `pack`, ...) are skipped: their
readers depend on their makers. So are nodes with bodies: what a body reads and returns is connected
to the calls around it. The calls of a branch depend on the calls that the condition comes from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from graph_opt.graph import Graph, Node, Origin, Ref
from graph_opt.ops import OPS


@dataclass(frozen=True, slots=True)
class UserCall:
    """One call in the user's code, or an input of the app."""

    id: str
    name: str  # as called, or the input's name
    origin: Origin | None  # None: an input, or primitives of unknown origin
    ops: tuple[str, ...]  # of its primitives, in order
    in_map: bool  # runs once for each item of a list


class CallEdge(NamedTuple):
    source: str
    target: str
    kind: str  # "data" or "control"


class UserCalls(NamedTuple):
    calls: tuple[UserCall, ...]
    edges: tuple[CallEdge, ...]


def user_calls(graph: Graph) -> UserCalls:
    """The calls of the user's program in order, and the data and control edges between them."""
    grouping = _Grouping()
    made = {param.name: {grouping.add(param, in_map=False)} for param in graph.params}
    grouping.walk(graph, made, set(), in_map=False)
    return grouping.finish()


_Made: TypeAlias = "dict[str, set[str]]"  # value -> the calls it comes from


class _Grouping:
    def __init__(self) -> None:
        self.ids: dict[object, str] = {}  # origin, or name of an input -> id of the call
        self.members: dict[str, list[Node]] = {}
        self.mapped: set[str] = set()
        self.edges: dict[CallEdge, None] = {}

    def walk(self, graph: Graph, made: _Made, after: set[str], in_map: bool) -> _Made:
        for node in graph.nodes:
            if node.op == "input":
                continue
            data = _union(made[value] for value in node.inputs)
            control = after | _union(made[name] for name in node.after)
            if node.bodies:
                calls = self.walk_bodies(node, made, control, in_map)
            elif node.origin is None:
                calls = data
            else:
                calls = {self.add(node, in_map)}
                self.connect(data, calls, "data")
                self.connect(control - data, calls, "control")
            made |= dict.fromkeys(node.outputs, calls)
        return made

    def walk_bodies(self, node: Node, made: _Made, after: set[str], in_map: bool) -> set[str]:
        args = [made[arg.name] if isinstance(arg, Ref) else set[str]() for arg in node.args]
        first_param = OPS[node.op].params_from
        calls = set[str]()
        for body in node.bodies:
            params = (param.name for param in body.params)
            given = dict(zip(params, args[first_param:], strict=True))
            control = after.union(*args[:first_param])
            inner = self.walk(body, given, control, in_map or node.op == "map")
            calls |= _union(inner[value] for value in body.outputs)
        return calls

    def add(self, node: Node, in_map: bool) -> str:
        key: object = node.name if node.op == "input" else node.origin
        call = self.ids.setdefault(key, f"c{len(self.ids)}")
        self.members.setdefault(call, []).append(node)
        if in_map:
            self.mapped.add(call)
        return call

    def connect(self, sources: set[str], targets: set[str], kind: str) -> None:
        for target in targets:
            for source in sorted(sources - {target}, key=lambda call: int(call[1:])):
                self.edges[CallEdge(source, target, kind)] = None

    def finish(self) -> UserCalls:
        calls = tuple(self.call(call, nodes) for call, nodes in self.members.items())
        plain = (
            e for e in self.edges if e.kind == "data" or e._replace(kind="data") not in self.edges
        )
        return UserCalls(calls, tuple(plain))

    def call(self, call: str, nodes: list[Node]) -> UserCall:
        first = nodes[0]
        name = first.origin.call if first.origin and first.op != "input" else first.name
        ops = tuple(node.op for node in nodes)
        origin = None if first.op == "input" else first.origin
        return UserCall(call, name, origin, ops, call in self.mapped)


def _union(sets: Iterable[set[str]]) -> set[str]:
    return set[str]().union(*sets)
