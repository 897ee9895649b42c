"""Which requests read the context of a prefill, and when they can start, if prefills take no time.

So it is on engines that keep contexts with their client: a prefill is a part of the requests behind
it. Times are seconds of a cost model, or engine ops one after another where there is none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from graph_opt.cost_model import CostModel, UnitCost
from graph_opt.graph import Arg, Graph, Node, Ref
from graph_opt.ops import OPS, is_pure
from graph_opt.paths import bodies_of, expected_bodies

MAP_ITEMS = 8.0  # a guess for a list that is not known before the run


@dataclass(frozen=True, slots=True)
class Reading:
    """Requests that read a context and can start at the same time."""

    start_s: float
    num_requests: float


@dataclass(frozen=True, slots=True)
class Prefill:
    """A prefill, and what its context holds since one that is made otherwise."""

    path: str
    node: Node
    start_s: float  # when its own inputs are there
    parts: tuple[Arg, ...]
    behind: Prefill | None  # the prefill that it continues


Readings: TypeAlias = "Sequence[Reading]"
IsRequest: TypeAlias = "Callable[[Prefill, Readings], bool]"


def ask_about_prefills(
    graph: Graph,
    cost: CostModel | None,
    is_client_side: Callable[[Node], bool],
    is_request: IsRequest,
) -> dict[str, Prefill]:
    """All prefills of the graph and its bodies on such engines, by path, in program order.

    `is_request` is asked about each with its readings, the last one first: whether it is a request
    by itself. One that is none passes its readings on to the prefill before it.
    """
    walk = _Walk(cost or EngineOps(), is_client_side)
    walk.graph(graph, "", {}, {}, 0.0)
    _Readings(walk, is_request).of(graph, "")
    return walk.prefills


class EngineOps(UnitCost):
    """One second for each primitive on an engine, but none for a pure function: most are quick."""

    def seconds(self, node: Node) -> float:
        return 0.0 if node.op == "call" and is_pure(node) else super().seconds(node)


@dataclass(slots=True)
class _Walk:
    """When each node can start, and the prefills, in program order."""

    cost: CostModel
    is_client_side: Callable[[Node], bool]
    starts: dict[str, float] = field(default_factory=dict)  # by path
    prefills: dict[str, Prefill] = field(default_factory=dict)  # by path

    def graph(
        self,
        graph: Graph,
        path: str,
        given: Mapping[str, float],
        made: Mapping[str, Prefill],
        begin_s: float,
    ) -> float:
        """When the graph ends; `given` says when its params are there, `made` which are made by
        prefills outside."""
        ends, contexts = dict(given), dict(made)
        for node in graph.nodes:
            if node.op == "input":
                ends.setdefault(node.name, begin_s)
                continue
            end_s = self.node(graph, node, path, ends, contexts, begin_s)
            ends.update(dict.fromkeys(node.outputs, end_s))
        return max(ends.values(), default=begin_s)

    def node(
        self,
        graph: Graph,
        node: Node,
        path: str,
        ends: dict[str, float],
        contexts: dict[str, Prefill],
        begin_s: float,
    ) -> float:
        if node.bodies:
            return self.bodies(graph, node, path, ends, contexts, begin_s)
        waits = (ends[value] for value in (*node.inputs, *_after(graph, node)))
        start_s = self.starts[path + node.name] = max((begin_s, *waits))
        if node.op == "prefill" and self.is_client_side(node):
            behind = contexts.get(node.inputs[0])
            parts = (*(behind.parts if behind else ()), *node.args[1:])
            prefill = Prefill(path + node.name, node, start_s, parts, behind)
            self.prefills[prefill.path] = contexts[node.name] = prefill
            return start_s
        return start_s + self.cost.seconds(node)

    def bodies(
        self,
        graph: Graph,
        node: Node,
        path: str,
        ends: dict[str, float],
        contexts: dict[str, Prefill],
        begin_s: float,
    ) -> float:
        """A body begins with its list, condition or state; each capture comes when it comes."""
        first = (arg.name for arg in node.args[:1] if isinstance(arg, Ref))
        waits = (ends[value] for value in (*first, *_after(graph, node)))
        start_s = self.starts[path + node.name] = max((begin_s, *waits))
        found = []
        for inner, body in bodies_of(node, path):
            given, made = {}, {}
            for param, arg in _captures(node, body):
                given[param.name] = max(start_s, ends[arg.name])
                if arg.name in contexts:
                    made[param.name] = contexts[arg.name]
            found.append(self.graph(body, inner, given, made, start_s))
        expected = found[: len(expected_bodies(node))]
        return min(expected) if node.op == "first" else max(expected)


@dataclass(slots=True)
class _Readings:
    """The readings of contexts, from the end of the program to its begin."""

    walk: _Walk
    is_request: IsRequest

    def of(self, graph: Graph, path: str) -> Mapping[str, Readings]:
        """The readings of each context that is read in the graph, its params among them."""
        found: defaultdict[str, list[Reading]] = defaultdict(list)
        for node in reversed(graph.nodes):
            for context, reading in self.by(node, path, found):
                found[context].append(reading)
        return found

    def by(
        self, node: Node, path: str, found: Mapping[str, Readings]
    ) -> Iterator[tuple[str, Reading]]:
        if node.bodies:
            yield from self.in_bodies(node, path)
            return
        if node.op not in ("prefill", "decode", "select", "encode"):
            return
        prefill = self.walk.prefills.get(path + node.name)
        own = [Reading(self.walk.starts[path + node.name], 1.0)]
        if prefill is not None and not self.is_request(prefill, found.get(node.name, ())):
            own = list(found.get(node.name, ()))
        for reading in own:
            yield node.inputs[0], reading

    def in_bodies(self, node: Node, path: str) -> Iterator[tuple[str, Reading]]:
        """Of bodies that may not run only what is read in each of them is certain."""
        times = _num_items(node) if node.op == "map" else 1.0
        by_body: list[dict[str, list[Reading]]] = []
        for inner, body in bodies_of(node, path):
            read = self.of(body, inner)
            outside: dict[str, list[Reading]] = {}
            for param, arg in _captures(node, body):
                outside.setdefault(arg.name, []).extend(read.get(param.name, ()))
            by_body.append(outside)
        certain = by_body[: len(expected_bodies(node))]
        for context in certain[0]:
            each = [outside.get(context, []) for outside in certain]
            for reading in min(each, key=_total):
                yield context, Reading(reading.start_s, times * reading.num_requests)


def _captures(node: Node, body: Graph) -> Iterator[tuple[Node, Ref]]:
    """The params of a body that stand for values of the graph around it."""
    first = OPS[node.op].params_from
    for param, arg in zip(body.params, node.args[first:], strict=True):
        if isinstance(arg, Ref) and not (first == 0 and param is body.params[0]):
            yield param, arg


def is_scored(graph: Graph, context: str) -> bool:
    """Whether a select reads the context, or a prefill's of it, here or in a body."""
    return any(
        reader.op == "select"
        or (reader.op == "prefill" and is_scored(graph, reader.name))
        or is_scored_within(reader, context)
        for reader in graph.consumers(context)
    )


def is_scored_within(node: Node, context: str) -> bool:
    """Whether a select in the node's bodies reads the context that they capture."""
    return any(
        arg.name == context and is_scored(body, param.name)
        for body in node.bodies
        for param, arg in _captures(node, body)
    )


def _after(graph: Graph, node: Node) -> Iterator[str]:
    """A value of each node that this one is ordered after."""
    return (graph.node(name).outputs[0] for name in node.after)


def _num_items(node: Node) -> float:
    items = node.args[0]
    if node.attrs.get("order") == "sequential":
        return 1.0
    return float(len(items)) if isinstance(items, list) else MAP_ITEMS


def _total(readings: Readings) -> float:
    return sum(reading.num_requests for reading in readings)
