"""What the primitives of a graph cost: latencies of engines over the estimated sizes of values.

The cost model of passes (`graph_opt.cost.CostModel`) and of plans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graph_opt.graph import Graph, Node
from graph_opt.ops import OPS
from graph_opt.tokens import BYTES_PER_TOKEN
from runtime.latency import MEASURES, NOTHING_MEASURED, EngineLatency, Load
from runtime.sizes import Size, decode_tokens, prompt_tokens, size_of, sizes_of

LOOP_TURNS = 1.0  # as long as nobody knows


@dataclass(frozen=True, slots=True)
class GraphCost:
    """Expected seconds of the nodes of one graph, and of the graphs that passes make of it."""

    latencies: Mapping[str, EngineLatency]  # by the engine's name in the graph
    sizes: Mapping[str, Size]  # by value

    @classmethod
    def of(cls, graph: Graph, latencies: Mapping[str, EngineLatency]) -> GraphCost:
        return cls(latencies, sizes_of(graph))

    def seconds(self, node: Node) -> float:
        """How long an idle engine that is loaded needs for the node."""
        if OPS[node.op].engine_kind is None:
            return 0.0
        latency = self.latency(node)
        return sum(latency.seconds(load) for load in self.loads(node))

    def latency(self, node: Node) -> EngineLatency:
        return self.latencies.get(str(node.attrs.get("engine"))) or EngineLatency(NOTHING_MEASURED)

    def num_turns(self, node: Node) -> float:
        """How often the body of a map or loop is expected to run."""
        if node.op == "map":
            return size_of(node.args[0], self.sizes).as_list().num_items
        return LOOP_TURNS

    def num_items(self, node: Node) -> float:
        """The items of the list that the node makes, or goes through."""
        position = {"rerank": 1}.get(node.op, 0)
        return size_of(node.args[position], self.sizes).num_items if node.args else 1.0

    def loads(self, node: Node) -> tuple[Load, ...]:
        """What the node will ask of its engine."""
        match node.op:
            case "embed" | "ingest":
                return (self._items(node, size_of(node.args[0], self.sizes)),)
            case "rerank":
                return (self._items(node, size_of(node.args[1], self.sizes).as_list()),)
            case "search":
                held = size_of(node.args[0], self.sizes)
                return (
                    Load("search", 1.0, held.num_items if held.item else MEASURES["search"][2]),
                )
            case "prefill":
                return (self._prompt(node, size_of(node.args[0], self.sizes).total, 1),)
            case "decode":
                return (self._text(node, size_of(node.args[0], self.sizes).total),)
            case "generate":
                prompt = self._prompt(node, 0.0, 0)
                return (prompt, self._text(node, prompt.size))
            case "call":
                return (Load(f"call:{node.attrs.get('fn')}", 1.0, 0.0),)
        return (Load(node.op, 1.0, 0.0),)

    def _items(self, node: Node, size: Size) -> Load:
        num_chars = BYTES_PER_TOKEN * size.total / max(1.0, size.num_items)
        return Load(node.op, size.num_items, num_chars)

    def _prompt(self, node: Node, before: float, first_part: int) -> Load:
        return Load("prefill", prompt_tokens(node.args[first_part:], self.sizes), before)

    def _text(self, node: Node, before: float) -> Load:
        tokens = decode_tokens(node)
        return Load("decode", 1.0, before + tokens / 2, tokens)
