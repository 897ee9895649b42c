"""What passes may know beside the graph: what the engines can do, and what primitives cost."""

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

    def can(self, node: Node, what: str) -> bool:
        """Whether the node's engine has this capability."""
        able = self.capabilities.get(str(node.attrs.get("engine")))
        return able is None or what in able


NO_FACTS = Facts()
