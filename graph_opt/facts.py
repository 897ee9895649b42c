"""What passes know besides the graph: capabilities of engines and costs of primitives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graph_opt.cost_model import CostModel, busy_s, length_s
from graph_opt.graph import Graph, Node


@dataclass(frozen=True, slots=True)
class PlanQuality:
    """What a check of a model found of one plan of KV cache fusion."""

    r: float  # recovered fraction: 1 is exact, 0 as far off as full reuse
    cost: float  # share of a full prefill that is computed


@dataclass(frozen=True, slots=True)
class FusionFacts:
    """What passes may know of KV cache fusion."""

    default: str | None = None  # the app's, for the prompts of models that have none
    models: Mapping[str, str] = field(default_factory=dict)  # engine -> its model, for people
    plans: Mapping[str, Mapping[str, PlanQuality]] = field(default_factory=dict)  # where checked
    floors: Mapping[str, float] = field(default_factory=dict)  # engine -> R that it insists on


@dataclass(frozen=True, slots=True)
class Facts:
    """Nothing known is no hindrance: an engine that is not listed can do everything."""

    capabilities: Mapping[str, frozenset[str]] = field(default_factory=dict)  # engine -> words
    cost: CostModel | None = None  # None: nothing was profiled, do what pays as a rule
    profiled: frozenset[str] | None = None  # engines whose costs are measured; None: all
    devices: Mapping[str, str] = field(default_factory=dict)  # engine -> what it computes on
    fusion: FusionFacts = FusionFacts()
    prefill_ahead: bool | None = None  # the app's; None: where costs say that it pays

    def can(self, node: Node, what: str) -> bool:
        """Whether the node's engine has this capability."""
        able = self.capabilities.get(str(node.attrs.get("engine")))
        return able is None or what in able

    def has(self, node: Node, what: str) -> bool:
        """Whether the node's engine is known to have this capability."""
        return what in self.capabilities.get(str(node.attrs.get("engine")), ())

    def cost_of(self, node: Node) -> CostModel | None:
        """The cost model, if what it says of the node's engine was measured."""
        is_measured = self.profiled is None or node.attrs.get("engine") in self.profiled
        return self.cost if is_measured else None

    def device_binds(self, graph: Graph, node: Node) -> bool:
        """Whether the node's device is busy for as long as the graph takes, so that none of its
        work can be hidden behind other work. False where costs or devices are not known."""
        device = self.devices.get(str(node.attrs.get("engine")))
        if self.cost is None or device is None:
            return False
        on_device = {name for name, its in self.devices.items() if its == device}
        return busy_s(graph, self.cost, on_device) >= length_s(graph, self.cost) * (1 - 1e-9)


NO_FACTS = Facts()
