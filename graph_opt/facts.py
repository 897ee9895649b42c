"""What passes know besides the graph: capabilities of engines and costs of primitives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graph_opt.cost_model import CostModel
from graph_opt.graph import Node


@dataclass(frozen=True, slots=True)
class Facts:
    """Nothing known is no hindrance: an engine that is not listed can do everything."""

    capabilities: Mapping[str, frozenset[str]] = field(default_factory=dict)  # engine -> words
    cost: CostModel | None = None  # None: nothing was profiled, do what pays as a rule
    profiled: frozenset[str] | None = None  # engines whose costs are measured; None: all

    def can(self, node: Node, what: str) -> bool:
        """Whether the node's engine has this capability."""
        able = self.capabilities.get(str(node.attrs.get("engine")))
        return able is None or what in able

    def cost_of(self, node: Node) -> CostModel | None:
        """The cost model, if what it says of the node's engine was measured."""
        is_measured = self.profiled is None or node.attrs.get("engine") in self.profiled
        return self.cost if is_measured else None


NO_FACTS = Facts()
