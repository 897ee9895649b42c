"""The plans of programs: for each set of engines, passes and objective one, made when first run."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

from backends.errors import ConfigError
from backends.registry import EngineSpec
from frontend_dsl.bounded import BoundedCache
from frontend_dsl.program import PlanKey, Program, RunOptions
from frontend_dsl.symbols import spec_symbol
from graph_opt.analysis.fusion_choices import FusionChoice, fusion_choices
from graph_opt.analysis.next_use import NO_TIMES, next_uses
from graph_opt.encoding import encoding_graph
from graph_opt.graph import Graph
from graph_opt.objective import Kind
from graph_opt.paths import walk
from graph_opt.pipeline import PASSES, optimize
from graph_opt.plain import as_written
from graph_opt.write_choices import write_choices
from runtime.cost.seen import SeenNodes
from runtime.hints import hints_of
from runtime.layout import Layout, layout_of
from teola.engine_facts import engine_facts
from teola.estimate import estimate, predictions
from teola.fakes import with_stand_ins
from teola.known_engines import EngineBook, KnownEngines
from teola.plan import Plan, make_plan

MAX_PLANS = 16  # of a program


@dataclass(frozen=True)
class ReadyPlan:
    """A program that is ready to run on its engines."""

    engines: Mapping[str, EngineSpec]
    known: KnownEngines
    style: "_Style"
    layout: Layout
    seen: SeenNodes
    heading: "_Heading"
    num_noted: int = 0  # in `seen`, when the layout was made

    @property
    def is_stale(self) -> bool:
        """Whether so much more was seen that the hints should be made anew: after about one query,
        three, seven, and so on."""
        return self.seen.num_notes >= 2 * self.num_noted + len(self.seen.nodes) > 0

    def symbols(self, program: Program) -> Mapping[str, Any]:
        """The program's symbols, with the specs of the engines that run it."""
        replaced = {
            spec_symbol(name): spec
            for name, spec in self.engines.items()
            if spec is not program.engines[name]
        }
        return {**program.symbols, **replaced} if replaced else program.symbols

    @property
    def about(self) -> Mapping[str, Any]:
        """What the first event of a query says of it."""
        return self.heading.fields


@dataclass(frozen=True)
class _Heading:
    """What the first event of each query of a plan says, renewed or not: made once."""

    graph: Graph
    engines: Mapping[str, EngineSpec]
    known: KnownEngines
    is_optimized: bool

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        return {
            "app": self.graph.name,
            "optimized": self.is_optimized,
            "graph": str(self.graph),
            "origins": origins_of(self.graph),
            "engines": engine_facts(self.engines),
            "plan": expectation(self.graph, self.known),
        }


@dataclass(frozen=True, slots=True)
class _Style:
    """What a layout needs to know of the options."""

    is_optimized: bool
    speculates: bool
    objective: Kind


class PlanCache:
    """Keeps the plans of programs as long as those live."""

    def __init__(self, book: EngineBook) -> None:
        self._book = book
        self._plans: WeakKeyDictionary[PlanKey, BoundedCache[Hashable, ReadyPlan]] = (
            WeakKeyDictionary()
        )

    def ready(self, program: Program, options: RunOptions) -> ReadyPlan:
        """The plan for these options. Raises ConfigError for an engine name it has not."""
        engines = engines_of(program, options)
        known = self._book.known(engines)
        passes = _passes(options) if options.optimize else None
        plans = self._plans.setdefault(program.plan_key, BoundedCache(MAX_PLANS))
        key = (
            known.key,
            passes,
            options.objective,
            options.fusion,
            options.prefill_ahead,
            options.speculate is not None,
        )
        plan = plans.get_or_make(key, lambda: _make(program.graph, engines, known, options))
        return plans.put(key, _renewed(plan)) if plan.is_stale else plan

    def explained(self, program: Program, options: RunOptions) -> Plan:
        """What each pass does to the program's graph, and what it should save."""
        engines = engines_of(program, options)
        known = self._book.known(engines)
        graph = as_written(on_its_engines(program.graph, known))
        plan = make_plan(graph, known, _passes(options), options.fusion, options.prefill_ahead)
        return replace(plan, objective=options.objective, speculate=options.speculate)

    def encoding(self, program: Program, options: RunOptions) -> Program:
        """A program that computes the KV of items for the program's fused prompts. Raises
        ConfigError where it has none behind a constant head."""
        known = self._book.known(engines_of(program, options))
        graph = as_written(on_its_engines(program.graph, known))
        choices = fusion_choices(graph, known.facts(graph, options.fusion))
        made = encoding_graph(graph, choices)
        if made is None:
            raise ConfigError(_why_not(graph.name, choices))
        names = {str(node.attrs["engine"]) for node in made.nodes if "engine" in node.attrs}
        engines = {name: program.engines[name] for name in names}
        return Program(made, engines, program.symbols, list)


def _why_not(app: str, choices: Sequence[FusionChoice]) -> str:
    """Why nothing can be computed before the prompts of an app come."""
    if not choices:
        return f'no prompt of {app}() is fused: write tl.join(docs, ..., reuse="fuse") in one'
    reasons = [
        f"%{choice.node}: "
        + (choice.reason if choice.plan is None else "a value stands before its passages")
        for choice in choices
    ]
    return f"no prompt of {app}() is fused behind a constant beginning; {'; '.join(reasons)}"


def on_its_engines(graph: Graph, known: KnownEngines) -> Graph:
    """The graph in ops that its engines have. Raises GraphError where that cannot be."""
    has_select = any(node.op == "select" for _, node, _ in walk(graph))
    return write_choices(graph, known.facts(graph)) if has_select else graph


def engines_of(program: Program, options: RunOptions) -> Mapping[str, EngineSpec]:
    """The engines that a program runs on with these options."""
    return with_stand_ins(override(program.engines, options.engines), options.fakes)


def run_on(engines: Mapping[str, EngineSpec], options: RunOptions) -> Mapping[str, EngineSpec]:
    """What an app that names these engines runs on with options that may name others too."""
    mine = {name: url for name, url in options.engines.items() if name in engines}
    return with_stand_ins(override(engines, mine), options.fakes)


def override(engines: Mapping[str, EngineSpec], urls: Mapping[str, str]) -> dict[str, EngineSpec]:
    """The engines with some replaced by name; a replaced one's options are its URL's own."""
    for name in urls:
        if name not in engines:
            known = ", ".join(sorted(engines)) or "none"
            raise ConfigError(f"the app has no engine named {name!r}; it has {known}")
    return {
        name: EngineSpec(spec.kind, urls[name]) if name in urls else spec
        for name, spec in engines.items()
    }


def origins_of(graph: Graph) -> dict[str, list[Any]]:
    """Node path (`graph_opt.paths`) -> [call, file, line]."""
    return {
        path: [node.origin.call, node.origin.file, node.origin.line]
        for path, node, _ in walk(graph)
        if node.origin is not None
    }


def expectation(graph: Graph, known: KnownEngines) -> dict[str, Any]:
    """What a trace keeps of the plan, for `teola trace --plan`."""
    cost = known.cost(graph)
    expected = estimate(graph, cost, known.batch_items, known.placed)
    seconds = predictions(graph, cost)
    return {
        "seconds": {path: round(value, 6) for path, value in seconds.items()},
        "path_s": round(expected.path_s, 6),
        "path": [step.node for step in expected.path],
        "work_s": round(expected.total_work_s, 6),
        "sources": dict(known.sources),
        "device_s": {name: round(busy_s, 6) for name, busy_s in expected.device_s.items()},
        "devices": {name: placed.device for name, placed in known.placed.items()},
        "bound_by": expected.bound_by,
    }


def _passes(options: RunOptions) -> tuple[Any, ...]:
    return PASSES if options.passes is None else options.passes


def _make(
    graph: Graph, engines: Mapping[str, EngineSpec], known: KnownEngines, options: RunOptions
) -> ReadyPlan:
    graph = as_written(on_its_engines(graph, known))
    if options.optimize:
        facts = known.facts(graph, options.fusion, options.prefill_ahead)
        graph = optimize(graph, _passes(options), facts)
    seen = SeenNodes()
    speculates = options.optimize and options.speculate is not None
    style = _Style(options.optimize, speculates, options.objective)
    layout = _layout(graph, known, style, seen)
    heading = _Heading(layout.graph, engines, known, options.optimize)
    return ReadyPlan(engines, known, style, layout, seen, heading)


def _renewed(plan: ReadyPlan) -> ReadyPlan:
    """The same with expectations by what its queries have seen, and by what engines take now."""
    num_noted = plan.seen.num_notes
    layout = _layout(plan.layout.graph, plan.known, plan.style, plan.seen)
    return replace(plan, layout=layout, num_noted=num_noted)


def _layout(graph: Graph, known: KnownEngines, style: _Style, seen: SeenNodes) -> Layout:
    cost = replace(known.cost(graph), seen=seen.in_graph(graph))
    return layout_of(
        graph,
        hints_of(graph, cost, style.objective),
        keep_heads=style.is_optimized,
        times=next_uses(graph, cost) if known.want_next_uses else NO_TIMES,
        speculates=style.speculates,
        seen=seen,
    )
