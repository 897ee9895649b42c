"""When the contexts of a graph are read: the plan's times, by which engines keep KV or let it go.

Times are seconds of a cost model from the begin of the graph, with engines enough for all that can
run side by side. Of a loop they are those of its first turn; what is read in each turn is read
again a turn later. No body returns a context.

    %c = prefill ...        0 s to 1 s     read at 1 s and at 4 s
    %a, %d = decode %c      1 s to 2 s
    %r = call %a            2 s to 4 s
    %b, %e = decode %c %r   4 s
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from graph_opt.cost_model import CostModel, UnitCost, span_s
from graph_opt.graph import Graph, Node, Ref
from graph_opt.ops import OPS, reads_context
from graph_opt.paths import bodies_of

Reads: TypeAlias = "dict[str, set[float]]"  # value -> when it is read
_AGAIN = ("loop", "map")  # their bodies run more than once


@dataclass(frozen=True, slots=True)
class Times:
    """Of a graph and its bodies, all by path."""

    begins: Mapping[str, float] = field(default_factory=dict)  # of nodes
    ends: Mapping[str, float] = field(default_factory=dict)
    reads: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # of contexts, ascending
    length_s: float = 0.0

    def of(self, path: str, graph: Graph) -> Times:
        """Those of the graph whose nodes' paths begin so, by name."""
        nodes = [node.name for node in graph.nodes if path + node.name in self.begins]
        values = (value for node in graph.nodes for value in node.outputs)
        return Times(
            {name: self.begins[path + name] for name in nodes},
            {name: self.ends[path + name] for name in nodes},
            {name: self.reads[path + name] for name in values if path + name in self.reads},
            self.length_s,
        )


NO_TIMES = Times()


def next_uses(graph: Graph, cost: CostModel | None = None) -> Times:
    """When each node is expected to begin and end, and each context to be read."""
    plan = _Plan(cost or UnitCost())
    length_s = plan.time(graph, "", 0.0)
    plan.read(graph, "", {})
    reads = {value: tuple(sorted(times)) for value, times in plan.reads.items() if times}
    return Times(plan.begins, plan.ends, reads, length_s)


@dataclass(slots=True)
class _Plan:
    cost: CostModel
    begins: dict[str, float] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)
    reads: Reads = field(default_factory=dict)

    def time(self, graph: Graph, path: str, begin_s: float) -> float:
        """When the graph ends that begins then."""
        end_s = begin_s
        for node in graph.nodes:
            waits = (self.ends[path + parent.name] for parent in graph.parents(node))
            start_s = self.begins[path + node.name] = max(waits, default=begin_s)
            self.ends[path + node.name] = start_s + span_s(node, self.cost)
            end_s = max(end_s, self.ends[path + node.name])
            for inner, body in bodies_of(node, path):
                self.time(body, inner, start_s)
        return end_s

    def read(self, graph: Graph, path: str, later: Mapping[str, Iterable[float]]) -> Reads:
        """When values are read in the graph; `later`: when what its params stand for is, after."""
        found: Reads = defaultdict(set)
        for node in reversed(graph.nodes):
            for value in node.outputs:
                self.reads[path + value] = found[value] | set(later.get(value, ()))
            first = node.args[0] if node.args else None
            if isinstance(first, Ref) and reads_context(node):
                found[first.name].add(self.begins[path + node.name])
            for inner, body in bodies_of(node, path):
                self._read_body(node, path, inner, body, found, later)
        return found

    def _read_body(
        self,
        node: Node,
        path: str,
        inner: str,
        body: Graph,
        found: Reads,
        later: Mapping[str, Iterable[float]],
    ) -> None:
        given = {
            param.name: arg.name
            for param, arg in zip(body.params, node.args[OPS[node.op].params_from :], strict=False)
            if isinstance(arg, Ref)
        }
        after = {name: found[value] | set(later.get(value, ())) for name, value in given.items()}
        inside = self.read(body, inner, after)
        if node.op in _AGAIN:
            turn_s = self.ends[path + node.name] - self.begins[path + node.name]
            for param in body.params:
                self.reads[inner + param.name] |= {at_s + turn_s for at_s in inside[param.name]}
        for name, value in given.items():
            found[value] |= inside[name]
