"""What a policy knows of a primitive besides its size: its urgency and its task group.

Computed once per plan: Teola's depth, the bottom level over the cost model, and Parrot's
objectives and task groups.
"""

from __future__ import annotations

from dataclasses import dataclass

from backends.base import Place
from graph_opt.analysis.objectives import deduce_objectives
from graph_opt.analysis.rank import rank
from graph_opt.cost_model import CostModel, UnitCost
from graph_opt.graph import Graph
from graph_opt.objective import Kind


@dataclass(frozen=True, slots=True)
class Hint:
    """What the plan knows of one node; for a node of a body, what follows the body counts too."""

    depth: int  # engine primitives still to run one after another once it is finished
    level_s: float  # expected seconds from its start to the end of the query
    group: str | None = None  # of those that work side by side for one consumer
    kind: Kind = "latency"

    def at(self, query: str) -> Place:
        """What engines are told of it in one query."""
        return Place(query, self.level_s, self.depth, self.group, self.kind)


def hints_of(
    graph: Graph, cost: CostModel | None = None, objective: Kind = "latency"
) -> dict[str, Hint]:
    """The hint of each node, by its path (`graph_opt.paths`).

    Without a cost model each primitive counts as a second, so that levels are Teola's depths. With
    the objective "throughput" all outputs of the query have it.
    """
    levels = rank(graph, cost or UnitCost())
    objectives = deduce_objectives(graph, graph.outputs if objective == "throughput" else ())
    return {
        path: Hint(each.stage, levels[path], each.group, each.kind)
        for path, each in objectives.items()
    }
