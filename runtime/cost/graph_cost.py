"""What the primitives of a graph cost: latencies of engines over the estimated sizes of values.

The cost model of passes (`graph_opt.cost_model.CostModel`) and of plans.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from graph_opt.graph import Graph, Node
from graph_opt.ops import OPS
from runtime.cost.graph_sizes import sizes_of
from runtime.cost.held_heads import held_heads
from runtime.cost.latency import NOTHING_MEASURED, EngineLatency, Load
from runtime.cost.seen import Seen
from runtime.cost.sizes import Size, size_of
from runtime.ops.table import OP_RUNS

LOOP_TURNS = 1.0  # a guess: the number of turns is not known before the run


@dataclass(frozen=True, slots=True)
class GraphCost:
    """Expected seconds of the nodes of one graph, and of the graphs that passes make of it."""

    latencies: Mapping[str, EngineLatency]  # by the engine's name in the graph
    sizes: Mapping[str, Size]  # by value
    clients: Collection[str] = ()  # engines that keep contexts with the client
    held: Mapping[str, float] = field(default_factory=dict)  # see `held_heads`
    seen: Mapping[int, Seen] = field(default_factory=dict)  # by the nodes' id(); see `SeenNodes`

    @classmethod
    def of(
        cls,
        graph: Graph,
        latencies: Mapping[str, EngineLatency],
        clients: Collection[str] = (),
        caching: Collection[str] = (),
    ) -> GraphCost:
        """`clients` are engines that keep contexts with the client, `caching` those of them whose
        servers have a prefix cache."""
        sizes = sizes_of(graph)
        return cls(latencies, sizes, clients, held_heads(graph, sizes, caching) if caching else {})

    def seconds(self, node: Node) -> float:
        """How long an idle engine that is loaded needs for the node."""
        if OPS[node.op].engine_kind is None:
            return 0.0
        latency = self.latency(node)
        seen = self.seen.get(id(node))
        loads = self.loads(node) if seen is None else map(seen.of, self.loads(node))
        return sum(map(latency.seconds, loads))

    def latency(self, node: Node) -> EngineLatency:
        return self.latencies.get(str(node.attrs.get("engine"))) or EngineLatency(NOTHING_MEASURED)

    def num_turns(self, node: Node) -> float:
        """How often the body of a map or loop is expected to run; once for a `cond`."""
        seen, turns = self.seen.get(id(node)), OP_RUNS[node.op].turns
        if seen is not None:
            return seen.turns
        return LOOP_TURNS if turns is None else turns(node, self.sizes)

    def num_items(self, node: Node) -> float:
        """The items of the list that the node makes, or goes through."""
        position = OP_RUNS[node.op].items_arg or 0
        return size_of(node.args[position], self.sizes).num_items if node.args else 1.0

    def loads(self, node: Node) -> tuple[Load, ...]:
        """What the node will ask of its engine; nothing, if it needs none."""
        op = OP_RUNS[node.op]
        if op.client_load is not None and node.attrs.get("engine") in self.clients:
            return op.client_load(node, self.sizes, self.held.get(node.name, 0.0))
        return () if op.load is None else op.load(node, self.sizes)
