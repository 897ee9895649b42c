"""What the optimizer did to an app's graph, pass by pass, and what it should save; for people."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import get_args

from graph_opt.analysis.advice import Advice, layout_advice
from graph_opt.analysis.ahead_choices import AheadChoice, ahead_choices
from graph_opt.analysis.critical_path import critical_path
from graph_opt.analysis.fusion_choices import FusionChoice, fusion_choices
from graph_opt.analysis.objectives import deduce_objectives
from graph_opt.analysis.readiness import num_engine_ops
from graph_opt.draw import to_svg
from graph_opt.facts import Facts
from graph_opt.graph import Graph
from graph_opt.objective import Kind
from graph_opt.ops import OPS
from graph_opt.paths import walk
from graph_opt.pipeline import PASSES, Pass, PassReport, explain_passes
from graph_opt.text import to_text
from teola.device_work import Placed
from teola.estimate import CRITICAL_PATH, Estimate, Step, estimate
from teola.failing_engines import failure_lines
from teola.guess_lines import guess_lines
from teola.known_engines import KnownEngine, KnownEngines
from teola.viewer.formats import percent, seconds


@dataclass(frozen=True, slots=True)
class Plan:
    """The graph as traced, each pass's report, and the graph that runs; with estimates of each."""

    before: Graph
    after: Graph
    reports: tuple[PassReport, ...]
    estimates: tuple[Estimate, ...]  # of the graph before, then after each pass
    engines: Mapping[str, KnownEngine] = field(default_factory=dict)
    placed: Mapping[str, Placed] = field(default_factory=dict)  # engines that compute on a device
    advice: tuple[Advice, ...] = ()  # on the layout of prompts
    fusion: tuple[FusionChoice, ...] = ()  # of prompts that ask for KV cache fusion
    ahead: tuple[AheadChoice, ...] = ()  # of prompts with reranked documents
    objective: Kind = "latency"  # of the query
    speculate: float | None = None  # the share that guesses may waste

    @property
    def expected_before(self) -> Estimate:
        return self.estimates[0]

    @property
    def expected_after(self) -> Estimate:
        return self.estimates[-1]

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Notebooks show the graph that runs, and in words what each pass did."""
        words = ["passes:", *_pass_lines(self), "", "expected:", *_expected_lines(self)]
        drawn = f"<p>{escape(describe(self.after))}</p>{to_svg(self.after)}"
        html = f"<div>{drawn}<pre>{escape(chr(10).join(words))}</pre></div>"
        return {"text/plain": str(self), "text/html": html}

    def __str__(self) -> str:
        objectives = list(_objective_lines(self.after, self.objective))
        failing = [f"  {line}" for line in failure_lines(self.engines)]
        guesses: list[str] = []
        if self.speculate is not None:
            guesses = [f"  {line}" for line in guess_lines(self.after, self.speculate)]
        return "\n\n".join(
            [
                f"before: {describe(self.before)}\n{to_text(self.before, origins=True)}",
                "passes:\n" + "\n".join(f"  {line}" for line in _pass_lines(self)),
                f"after: {describe(self.after)}\n{to_text(self.after, origins=True)}",
                "expected:\n" + "\n".join(f"  {line}" for line in _expected_lines(self)),
                *(["fusion:\n" + "\n".join(map(fusion_line, self.fusion))] if self.fusion else []),
                *(["ahead:\n" + "\n".join(map(ahead_line, self.ahead))] if self.ahead else []),
                *(["guesses:\n" + "\n".join(guesses)] if guesses else []),
                *(["when engines fail:\n" + "\n".join(failing)] if failing else []),
                *(["objectives:\n" + "\n".join(objectives)] if objectives else []),
                *(["advice:\n" + "\n".join(map(advice_line, self.advice))] if self.advice else []),
            ]
        )


def make_plan(
    graph: Graph,
    known: KnownEngines | None = None,
    passes: Sequence[Pass] = PASSES,
    fusion: str | None = None,
    prefill_ahead: bool | None = None,
) -> Plan:
    """Run the passes, keep what each did, and estimate what that changes."""
    known = known or KnownEngines()
    facts = known.facts(graph, fusion, prefill_ahead)
    reports = tuple(explain_passes(graph, passes, facts))
    graphs = [graph, *(report.after for report in reports)]
    expected: list[Estimate] = []
    for number, each in enumerate(graphs):
        is_same = number > 0 and each is graphs[number - 1]
        again = expected[-1] if is_same else _estimate(each, known)
        expected.append(again)
    fused = tuple(_fusion_choices(reports, facts))
    in_order = {choice.node for choice in fused if choice.plan}  # passages come first in these
    found = layout_advice(_pruned(reports, graph))
    advice = tuple(one for one in found if one.node not in in_order)
    ahead = tuple(_ahead_choices(reports, facts))
    return Plan(
        graph,
        graphs[-1],
        reports,
        tuple(expected),
        known.engines,
        known.placed,
        advice,
        fused,
        ahead,
    )


def _estimate(graph: Graph, known: KnownEngines) -> Estimate:
    return estimate(graph, known.cost(graph), known.batch_items, known.placed)


def describe(graph: Graph) -> str:
    """The size of a graph in engine primitives, and the longest chain of them."""
    total = sum(num_engine_ops(node) for node in graph.nodes)
    chain = longest_chain(graph)
    return f"{total} engine primitives, {chain} of them one after another"


def longest_chain(graph: Graph) -> int:
    """The engine primitives on the longest path; a map's body counts once."""
    path = critical_path(graph, lambda node: float(num_engine_ops(node)))
    return round(path.length_s)


def path_text(steps: tuple[Step, ...], whole_s: float, least: float = 0.01) -> str:
    """`expand.json 40% > rerank 5% > answer 50%`; what is below one percent is left out."""
    shown = [step for step in steps if step.adds_s >= least * whole_s]
    return " > ".join(f"{step.node} {percent(step.adds_s, whole_s)}" for step in shown)


def source_of(engine: KnownEngine) -> str:
    """Where an engine's seconds come from, and how far runs have corrected them."""
    ratios = [f"{op} x{ratio:.2f}" for op, ratio in engine.latency.corrections.items()]
    return f"{engine.latency.source}{', corrected ' + ', '.join(ratios) if ratios else ''}"


def advice_line(advice: Advice) -> str:
    where = f" ({advice.origin.file}:{advice.origin.line})" if advice.origin else ""
    return f"  %{advice.node}{where}: {advice.message}"


def fusion_line(choice: FusionChoice) -> str:
    """`%answer.prompt (app.py:12): query(0.15): asked for, R 0.52; 1.60 s -> 0.41 s`."""
    where = f" ({choice.origin.file}:{choice.origin.line})" if choice.origin else ""
    line = f"  %{choice.node}{where}: {choice.plan or 'exact'}: {choice.reason}"
    if choice.from_tokens is not None:
        line += f"; from {choice.from_tokens} tokens of chunks on"
    if choice.times_s is not None:
        line += f"; {change(*choice.times_s)} where its chunks were computed before"
    return line


def ahead_line(choice: AheadChoice) -> str:
    """`%answer (app.py:12): computed with the search's order while it is reranked: asked for`."""
    where = f" ({choice.origin.file}:{choice.origin.line})" if choice.origin else ""
    what = "computed in the order of the search meanwhile" if choice.is_made else "waits"
    return f"  %{choice.node}{where}: {what}: {choice.reason}"


def change(before_s: float, after_s: float) -> str:
    """`1.20 s -> 0.80 s`, or one time where nothing changed."""
    if abs(after_s - before_s) < 1e-9:
        return seconds(after_s)
    return f"{seconds(before_s)} -> {seconds(after_s)}"


def gain_text(before: Estimate, after: Estimate) -> str:
    """What a pass changes of the least a query can take; moving work about on a device that is
    busy all the time changes nothing."""
    if abs(before.bound_s - after.bound_s) < 1e-9:
        return ""
    return f"at least {change(before.bound_s, after.bound_s)}"


def bound_text(found: Estimate) -> str:
    """`1.20 s, bound by cpu: 0.30 s more than the critical path`."""
    if found.bound_by == CRITICAL_PATH:
        least, other = max(found.device_s.values(), default=0.0), "the busiest device"
    else:
        least, other = found.path_s, f"the {CRITICAL_PATH}"
    more = f": {seconds(found.bound_s - least)} more than {other}" if found.device_s else ""
    return f"{seconds(found.bound_s)}, bound by {found.bound_by}{more}"


def _pass_lines(plan: Plan) -> Iterator[str]:
    for report, before, after in zip(
        plan.reports, plan.estimates, plan.estimates[1:], strict=False
    ):
        gain = gain_text(before, after)
        yield report.summary + (f"; {gain}" if gain else "")


def _expected_lines(plan: Plan) -> Iterator[str]:
    before, after = plan.expected_before, plan.expected_after
    yield f"critical path {change(before.path_s, after.path_s)}"
    yield f"  before: {path_text(before.path, before.path_s)}"
    yield f"  after: {path_text(after.path, after.path_s)}"
    for name in dict.fromkeys((*before.device_s, *after.device_s)):
        busy = change(before.device_s.get(name, 0.0), after.device_s.get(name, 0.0))
        yield f"device {name} busy {busy}"
    yield f"at least {bound_text(after)}"
    yield f"engine work {change(before.total_work_s, after.total_work_s)}"
    for name in dict.fromkeys((*before.work_s, *after.work_s)):
        work = change(before.work_s.get(name, 0.0), after.work_s.get(name, 0.0))
        engine = plan.engines.get(name)
        yield f"  {name} {work} ({source_of(engine) if engine else 'default'})"


def _objective_lines(graph: Graph, objective: Kind) -> Iterator[str]:
    """What each engine primitive is served for, if the app says so of any."""
    nodes = {path: node for path, node, _ in walk(graph)}
    if not any("objective" in node.attrs for node in nodes.values()):
        return
    engines = [path for path, node in nodes.items() if OPS[node.op].engine_kind is not None]
    deduced = deduce_objectives(graph, graph.outputs if objective == "throughput" else ())
    for kind in get_args(Kind):
        names = [f"%{path}" for path in engines if deduced[path].kind == kind]
        yield f"  {kind}: {', '.join(names) or 'nothing'}"


def _fusion_choices(reports: tuple[PassReport, ...], facts: Facts) -> list[FusionChoice]:
    """What the pass saw, where it ran."""
    seen = [report.before for report in reports if report.name == "fuse_chunks"]
    return fusion_choices(seen[0], facts) if seen else []


def _ahead_choices(reports: tuple[PassReport, ...], facts: Facts) -> list[AheadChoice]:
    seen = [report.before for report in reports if report.name == "prefill_ahead"]
    return ahead_choices(seen[0], facts) if seen else []


def _pruned(reports: tuple[PassReport, ...], graph: Graph) -> Graph:
    """Where only true dependencies are left and no prompt is cut: what advice can be given on."""
    for report in reports:
        if report.name == "prune_dependencies":
            return report.after
    return reports[-1].after if reports else graph
