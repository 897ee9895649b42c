"""The objective of each node, latency or throughput, and its task group (Parrot, section 5.2).

The latency objective propagates from an output to all nodes that it depends on. Parallel nodes of
one consumer are a task group: only the last one to finish counts, so they may run in large batches.
Nodes that only throughput outputs depend on get the throughput objective.

The attr `objective` of a node says what its value is wanted for. It replaces, for the node and what
leads to it, the objective that readers of the value have; what two readers want differently is for
latency.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from graph_opt.analysis.depth import depth
from graph_opt.analysis.order import Order
from graph_opt.analysis.readiness import num_engine_ops
from graph_opt.graph import Graph
from graph_opt.objective import Kind
from graph_opt.paths import bodies_of


@dataclass(frozen=True, slots=True)
class Objective:
    """What a node is served for."""

    kind: Kind
    group: str | None  # path of the consumer or map whose task group the node belongs to
    stage: int  # engine ops still to run after it: a group's members of one stage run together


def deduce_objectives(graph: Graph, throughput: Collection[str] = ()) -> dict[str, Objective]:
    """The objective of each node, by its path; `throughput` names outputs with that objective.

    A node that a latency output depends on gets the latency objective; so does an effect that no
    output needs, since a query ends after its effects, unless all outputs are for throughput.
    """
    soon = [value for value in graph.outputs if value not in throughput]
    return _deduce(graph, _urgent(graph, soon, throughput), "", 0, None)


def _deduce(
    graph: Graph, urgent: set[str], path: str, num_later: int, around: str | None
) -> dict[str, Objective]:
    """Objectives in a graph, or in a body whose items are the task group `around`."""
    found: dict[str, Objective] = {}
    stages, groups = depth(graph), _groups(graph, urgent)
    for node in graph.nodes:
        is_urgent = node.name in urgent
        group = around or (path + groups[node.name] if node.name in groups else None)
        kind: Kind = "latency" if is_urgent else "throughput"
        stage = num_later + stages[node.name]
        found[path + node.name] = Objective(kind, group if is_urgent else None, stage)
        for inner, body in bodies_of(node, path):
            names = _urgent(body, *((body.outputs, ()) if is_urgent else ((), body.outputs)))
            inner_group = path + node.name if node.op == "map" else None
            found |= _deduce(body, names, inner, stage, around or inner_group)
    return found


def _urgent(graph: Graph, soon: Collection[str], in_bulk: Collection[str]) -> set[str]:
    """The nodes with the latency objective; those whose values nobody reads have it if any output
    has it."""
    urgent = {graph.producer(value).name for value in soon}
    bulk = {graph.producer(value).name for value in in_bulk}
    for node in reversed(graph.nodes):
        name, mark = node.name, node.attrs.get("objective")
        is_urgent = name in urgent or (bool(soon) and name not in bulk)
        if mark is not None:
            is_urgent = mark == "latency"
        (urgent.add if is_urgent else urgent.discard)(name)
        (urgent if is_urgent else bulk).update(parent.name for parent in graph.parents(node))
    return urgent


def _groups(graph: Graph, urgent: set[str]) -> dict[str, str]:
    """Node -> the consumer that waits for it and for others beside it; the first such consumer."""
    groups: dict[str, str] = {}
    order = Order(graph)
    sources: dict[str, tuple[str, ...]] = {}  # node -> the working nodes whose values it has
    for node in graph.nodes:
        order.add(node, node.after)
        parents = [graph.producer(value).name for value in node.inputs]
        read = tuple(dict.fromkeys(name for parent in parents for name in sources[parent]))
        sources[node.name] = (node.name,) if num_engine_ops(node) else read
        if node.name in urgent and num_engine_ops(node):
            groups = dict.fromkeys(_side_by_side(read, order), node.name) | groups
    for value in graph.outputs:
        maker = graph.producer(value)
        together = _side_by_side(sources[maker.name], order)
        if not num_engine_ops(maker):
            groups = dict.fromkeys(together, maker.name) | groups
    return groups


def _side_by_side(names: Collection[str], order: Order) -> list[str]:
    """Those of which none must wait for another; none if that leaves one alone."""
    awaited = 0
    for name in names:
        awaited |= order.at_start[name]
    free = [name for name in names if not awaited & order.bit[name]]
    return free if len(free) > 1 else []
