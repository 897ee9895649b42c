"""How long a graph keeps each device busy. Engines on one device share its time; work of a map that
goes in one batch takes the time of that batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil

from graph_opt.graph import Graph, Node
from graph_opt.ops import OPS
from graph_opt.paths import expected_bodies
from runtime.cost.graph_cost import GraphCost


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an engine computes, and how many items it takes together."""

    device: str
    items: int


def device_work(graph: Graph, cost: GraphCost, engines: Mapping[str, Placed]) -> dict[str, float]:
    """Seconds by device. Engines that are not in `engines` keep none busy, or none that is known.

    Of a `cond` the longer branch counts. A map's items are expected to come together.
    """
    return _work(graph, cost, engines, 1.0, 1.0)


def _work(
    graph: Graph,
    cost: GraphCost,
    engines: Mapping[str, Placed],
    in_turn: float,
    together: float,
) -> dict[str, float]:
    work: dict[str, float] = {}
    for node in graph.nodes:
        for device, seconds in _of_node(node, cost, engines, in_turn, together).items():
            work[device] = work.get(device, 0.0) + seconds
    return work


def _of_node(
    node: Node,
    cost: GraphCost,
    engines: Mapping[str, Placed],
    in_turn: float,
    together: float,
) -> Mapping[str, float]:
    if node.bodies:
        turns = cost.num_turns(node)
        if node.op == "map" and node.attrs.get("order") != "sequential":
            together *= turns
        else:
            in_turn *= turns
        parts = [_work(body, cost, engines, in_turn, together) for body in expected_bodies(node)]
        return max(parts, key=lambda part: sum(part.values()))
    placed = engines.get(str(node.attrs.get("engine")))
    if placed is None or OPS[node.op].engine_kind is None or not together:
        return {}
    batch = min(max(1.0, together), float(placed.items))
    latency = cost.latency(node)
    loads = [replace(load, size=load.size * batch) for load in cost.loads(node)]
    num_batches = in_turn * ceil(together / batch)
    return {placed.device: num_batches * sum(map(latency.seconds, loads))}
