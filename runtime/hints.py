"""What a policy knows of a primitive besides its size: its urgency and its task group.

Computed once per plan: Teola's depth, the bottom level over the cost model, and Parrot's
objectives and task groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from backends.place import Left, Place
from graph_opt.analysis.objectives import deduce_objectives
from graph_opt.analysis.rank import rank
from graph_opt.cost_model import CostModel, UnitCost
from graph_opt.graph import Graph, Node
from graph_opt.objective import Kind
from graph_opt.ops import OPS
from graph_opt.paths import expected_bodies, walk
from runtime.caller import ANYBODY, Caller


@dataclass(frozen=True, slots=True)
class Hint:
    """What the plan knows of one node; for a node of a body, what follows the body counts too."""

    depth: int  # engine primitives still to run one after another once it is finished
    level_s: float  # expected seconds from its start to the end of the query
    group: str | None = None  # of those that work side by side for one consumer
    kind: Kind = "latency"
    node: str = ""  # the app, and its path in the plan
    work_s: float = 0.0  # expected seconds of LLMs, or else of all engines, of the whole query
    turn_s: float = 0.0  # those of the node; of one with bodies, of one body once
    turns: float = 1.0  # how often a body of it is expected to run

    def at(self, query: str, caller: Caller = ANYBODY, left: Left | None = None) -> Place:
        """What engines are told of it in one query."""
        return Place(
            query,
            self.level_s,
            self.depth,
            self.group,
            self.kind,
            self.node,
            self.work_s,
            caller.tenant,
            caller.program,
            caller.deadline_s,
            left,
        )


def hints_of(
    graph: Graph, cost: CostModel | None = None, objective: Kind = "latency"
) -> dict[str, Hint]:
    """The hint of each node, by its path (`graph_opt.paths`).

    Without a cost model each primitive counts as a second, so that levels are Teola's depths. With
    the objective "throughput" all outputs of the query have it.
    """
    cost = cost or UnitCost()
    levels = rank(graph, cost)
    objectives = deduce_objectives(graph, graph.outputs if objective == "throughput" else ())
    cost_of_work = _Counted(cost, _counted(graph))
    work_s = _work_s(graph, cost_of_work)
    return {
        path: Hint(
            each.stage,
            levels[path],
            each.group,
            each.kind,
            f"{graph.name}.{path}",
            work_s,
            *_turns_of(node, cost_of_work),
        )
        for path, node, _ in walk(graph)
        if (each := objectives.get(path)) is not None
    }


def _counted(graph: Graph) -> frozenset[str]:
    """The kinds of engines whose seconds are the query's work: those that queries compete for."""
    kinds = frozenset(kind for _, node, _ in walk(graph) if (kind := OPS[node.op].engine_kind))
    return kinds & {"llm"} or kinds


@dataclass(frozen=True, slots=True)
class _Counted:
    """A cost model in which only engines of some kinds cost anything."""

    cost: CostModel
    kinds: frozenset[str]

    def seconds(self, node: Node) -> float:
        return self.cost.seconds(node) if OPS[node.op].engine_kind in self.kinds else 0.0

    def num_turns(self, node: Node) -> float:
        return self.cost.num_turns(node) if isinstance(self.cost, _KnowsTurns) else 1.0


@runtime_checkable
class _KnowsTurns(Protocol):
    def num_turns(self, node: Node) -> float:
        """How often the node's body is expected to run."""


def _work_s(graph: Graph, cost: _Counted) -> float:
    """All seconds of engines that a graph asks for, each item of its maps included."""
    return sum(_node_work_s(node, cost) for node in graph.nodes)


def _node_work_s(node: Node, cost: _Counted) -> float:
    turn_s, turns = _turns_of(node, cost)
    return turn_s * turns


def _turns_of(node: Node, cost: _Counted) -> tuple[float, float]:
    """The seconds of engines that it asks for in a turn, and how many turns are expected."""
    if not node.bodies:
        return cost.seconds(node), 1.0
    return max(_work_s(body, cost) for body in expected_bodies(node)), cost.num_turns(node)
