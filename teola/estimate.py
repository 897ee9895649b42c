"""How long a graph should take: its critical path and all engine work, by a cost model.

The path assumes engines enough for all that may run side by side. Engines that share a device do
not run side by side, so a query takes no less than the path, and no less than the work of any one
device. Streams overlap: who reads one starts at its first piece and ends a piece after its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import ceil

from graph_opt.analysis.begin import reads_streams
from graph_opt.analysis.critical_path import bottom_levels
from graph_opt.cost_model import span_s
from graph_opt.graph import Graph, Node, Ref
from graph_opt.ops import OPS
from graph_opt.paths import bodies_of, expected_bodies, walk
from runtime.cost.graph_cost import GraphCost
from runtime.cost.sizes import size_of
from runtime.layout import Layout, layout_of
from teola.device_work import Placed, device_work

CRITICAL_PATH = "critical path"


@dataclass(frozen=True, slots=True)
class Step:
    """A primitive on the critical path, and what it adds to it."""

    node: str  # path
    op: str
    engine: str
    adds_s: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a graph should take."""

    path_s: float
    path: tuple[Step, ...]
    work_s: Mapping[str, float]  # by engine; what all its primitives take one after another
    device_s: Mapping[str, float] = field(default_factory=dict)  # how long each device is busy

    @property
    def bound_s(self) -> float:
        """The least a query can take: its critical path, or the work of its busiest device."""
        return max(self.path_s, *self.device_s.values(), 0.0)

    @property
    def bound_by(self) -> str:
        """The device that is busy for longer than the critical path takes, or that path."""
        busiest = max(self.device_s, key=lambda name: self.device_s[name], default=None)
        if busiest is None or self.device_s[busiest] <= self.path_s:
            return CRITICAL_PATH
        return busiest

    @property
    def total_work_s(self) -> float:
        return sum(self.work_s.values())


def estimate(
    graph: Graph,
    cost: GraphCost,
    batch_items: Mapping[str, int],
    engines: Mapping[str, Placed] | None = None,
) -> Estimate:
    """The critical path and the work; `batch_items` are the items of a piece at each engine,
    `engines` those whose device is known."""
    timing = _Timing(cost, batch_items)
    path_s, path = timing.run(layout_of(graph, {}), "")
    busy = device_work(graph, cost, engines or {})
    return Estimate(path_s, tuple(path), _work(graph, cost), busy)


def predictions(graph: Graph, cost: GraphCost) -> dict[str, float]:
    """The seconds of each primitive on an engine, by its path; of one run of it, not of all."""
    return {
        path: cost.seconds(node)
        for path, node, _ in walk(graph)
        if OPS[node.op].engine_kind is not None
    }


@dataclass(frozen=True, slots=True)
class _Span:
    """When a node starts, gives its first piece, and ends; and what it then was that held it."""

    start_s: float
    first_s: float
    end_s: float
    behind: str | None  # the node whose end or first piece it waited for last
    steps: tuple[Step, ...]
    num_pieces: float


class _Timing:
    def __init__(self, cost: GraphCost, batch_items: Mapping[str, int]) -> None:
        self.cost = cost
        self.batch_items = batch_items

    def run(self, layout: Layout, prefix: str) -> tuple[float, list[Step]]:
        """The length of a graph and the steps of its critical path."""
        spans: dict[str, _Span] = {}
        for node in layout.graph.nodes:
            spans[node.name] = self._span(layout, node, prefix, spans)
        last = max(spans, key=lambda name: spans[name].end_s, default=None)
        end_s = spans[last].end_s if last is not None else 0.0
        steps: list[Step] = []
        while last is not None:
            span = spans[last]
            before_s = spans[span.behind].end_s if span.behind is not None else 0.0
            steps[:0] = _scaled(span.steps, max(0.0, span.end_s - before_s))
            last = span.behind
        return end_s, steps

    def _span(self, layout: Layout, node: Node, prefix: str, spans: Mapping[str, _Span]) -> _Span:
        own_s, steps = self._own(layout, node, prefix)
        parents = layout.graph.parents(node)
        streams = [spans[p.name] for p in parents if node.name in layout.early[p.name]]
        num_pieces = self._num_pieces(node, streams)
        start_s, end_s, late_s = 0.0, own_s, 0.0
        behind = None
        late = layout.late.get(node.name, ())
        for parent in parents:
            if parent.name in late:
                continue
            theirs = spans[parent.name]
            is_stream = node.name in layout.early[parent.name]
            opened_s = theirs.first_s if is_stream else theirs.end_s
            # after the last item of a stream there is its piece to do, after a value all of it
            last_s = own_s if node.op == "map" or not is_stream else own_s / num_pieces
            until_s = max(theirs.end_s + last_s, opened_s + own_s)
            start_s = max(start_s, opened_s)
            if behind is None or until_s > end_s:
                behind = parent.name
            end_s = max(end_s, until_s)
        for parent in parents:
            if parent.name in late:
                until_s = spans[parent.name].end_s + self._after_capture_s(node, parent)
                if until_s > end_s:
                    end_s, behind = until_s, parent.name
                late_s = max(late_s, until_s)
        first_s = end_s
        if node.op == "elements":  # the first of them is written before the others
            first_s = start_s + (end_s - start_s) / num_pieces
        elif layout.early[node.name]:
            first_s = start_s + (own_s if node.op == "map" else own_s / num_pieces)
            first_s = max(first_s, late_s)
        return _Span(start_s, first_s, end_s, behind, steps, num_pieces)

    def _own(self, layout: Layout, node: Node, prefix: str) -> tuple[float, tuple[Step, ...]]:
        """How long the node takes by itself, and the steps that make it up."""
        if node.bodies:
            turns = self._num_turns_in_a_row(node)
            bodies = zip(layout.bodies[node.name], bodies_of(node, prefix), strict=True)
            expected = islice(bodies, len(expected_bodies(node)))
            runs = [self.run(body, path) for body, (path, _) in expected]
            pick = min if node.op == "first" else max
            own_s, steps = pick(runs, key=lambda run: run[0])
            return turns * own_s, tuple(steps)
        own_s = self.cost.seconds(node)
        if OPS[node.op].engine_kind is None:
            return own_s, ()
        engine = str(node.attrs.get("engine"))
        return own_s, (Step(prefix + node.name, node.op, engine, own_s),)

    def _after_capture_s(self, node: Node, maker: Node) -> float:
        """How long the bodies still take when a capture that came later is there."""
        args = node.args[OPS[node.op].params_from :]
        pick = min if node.op == "first" else max
        return pick(
            self._longest_behind(
                body,
                [
                    p.name
                    for p, arg in zip(body.params, args, strict=True)
                    if isinstance(arg, Ref) and arg.name in maker.outputs
                ],
            )
            for body in expected_bodies(node)
        )

    def _longest_behind(self, body: Graph, params: Sequence[str]) -> float:
        levels = bottom_levels(body, lambda inner: span_s(inner, self.cost))
        return max((levels[name] for name in params), default=0.0)

    def _num_turns_in_a_row(self, node: Node) -> float:
        turns = self.cost.num_turns(node)
        is_parallel = node.op == "map" and node.attrs.get("order") != "sequential"
        return min(1.0, turns) if is_parallel else turns

    def _num_pieces(self, node: Node, streams: Sequence[_Span]) -> float:
        """In how many pieces the node takes its streams, or gives its own."""
        if node.op in ("decode", "generate"):
            return max(1.0, self.cost.loads(node)[-1].times)
        if node.op == "elements":
            return max(1.0, size_of(Ref(node.name), self.cost.sizes).as_list().num_items)
        as_given = max((span.num_pieces for span in streams), default=1.0)
        engine = node.attrs.get("engine")
        if engine is None or not reads_streams(node):
            return as_given
        most = max(1, self.batch_items.get(str(engine), 1))
        return max(as_given, ceil(self.cost.num_items(node) / most))


def _scaled(steps: Iterable[Step], adds_s: float) -> list[Step]:
    """The steps of a node, so that together they add this much."""
    kept = [step for step in steps if step.adds_s > 0]
    whole_s = sum(step.adds_s for step in kept)
    scale = adds_s / whole_s if whole_s else 0.0
    return [Step(s.node, s.op, s.engine, s.adds_s * scale) for s in kept]


def _work(graph: Graph, cost: GraphCost) -> dict[str, float]:
    """Seconds of each engine; a map counts for all its items, of a cond the longer branch."""
    work: dict[str, float] = {}
    for node in graph.nodes:
        if node.bodies:
            parts = [_work(body, cost) for body in expected_bodies(node)]
            most = max(parts, key=lambda part: sum(part.values()))
            turns = cost.num_turns(node)
            for engine, seconds in most.items():
                work[engine] = work.get(engine, 0.0) + turns * seconds
        elif OPS[node.op].engine_kind is not None:
            engine = str(node.attrs.get("engine"))
            work[engine] = work.get(engine, 0.0) + cost.seconds(node)
    return work
