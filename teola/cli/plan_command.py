"""`teola plan APP`: the graph before, what each pass did, the graph that runs, and the gain."""

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from graph_opt.analysis.ahead_choices import AheadChoice
from graph_opt.analysis.fusion_choices import FusionChoice
from graph_opt.analysis.readiness import num_engine_ops
from graph_opt.draw import to_json
from graph_opt.graph import Graph
from graph_opt.pipeline import PassReport
from graph_opt.text import to_text
from teola.cli.app_arguments import Command, parse
from teola.cli.consoles import stdout_console
from teola.cli.failures import reported
from teola.cli.options import COMMON, Option
from teola.cli.results import json_text
from teola.estimate import Estimate
from teola.failing_engines import failure_lines
from teola.plan import (
    Plan,
    ahead_line,
    bound_text,
    change,
    fusion_line,
    gain_text,
    longest_chain,
)
from teola.viewer.expected import advice_lines, path_table, work_table
from teola.viewer.formats import count
from teola.viewer.graph_text import graph_lines, print_lines, styled

OPTIONS = (Option("json", "the plan as JSON"), *COMMON)
ABOUT = (
    "Show what the optimizer does to an app's graph, pass by pass, and what that should save by "
    "the engines' profiles (`teola profile`). Only arguments that specialise the graph are needed."
)


def plan(words: Sequence[str], prog: str = "teola plan") -> None:
    """The whole command; ends the process when anything fails."""
    with reported("--debug" in words or "--run-debug" in words):
        invocation = parse(Command(prog, ABOUT, OPTIONS, needs_all=False), words)
        made: Plan = invocation.app.plan(**invocation.arguments)
        if invocation.options.json:
            print(json_text(as_json(made), indent=2))
        else:
            show(stdout_console(invocation.options.no_color), made)


def as_json(made: Plan) -> dict[str, Any]:
    passes = zip(made.reports, made.estimates, made.estimates[1:], strict=False)
    return {
        "app": made.before.name,
        "before": {**_graph_json(made.before), "expected": _estimate_json(made.expected_before)},
        "passes": [_report_json(*each) for each in passes],
        "after": {**_graph_json(made.after), "expected": _estimate_json(made.expected_after)},
        "sources": {name: engine.latency.source for name, engine in made.engines.items()},
        "when_engines_fail": [*failure_lines(made.engines)],
        "fusion": [_fusion_json(choice) for choice in made.fusion],
        "ahead": [_ahead_json(choice) for choice in made.ahead],
        "advice": [
            {"node": a.node, "message": a.message, "num_tokens": a.num_tokens} for a in made.advice
        ],
    }


def show(console: Console, made: Plan) -> None:
    """Print the plan for people."""
    _title(console, f"before: {sizes(made.before)}")
    print_lines(console, graph_lines(to_text(made.before)))
    console.print()
    _title(console, f"passes: {len(made.reports)}")
    for number, report in enumerate(made.reports, start=1):
        before, after = made.estimates[number - 1 : number + 1]
        print_lines(console, _report_lines(number, report, before, after))
    console.print()
    _title(console, f"after: {sizes(made.after)}")
    print_lines(console, graph_lines(to_text(made.after)))
    console.print()
    _title(console, "expected critical path")
    console.print(path_table(made.expected_before, made.expected_after, console.width))
    console.print()
    _title(console, "expected work of the engines")
    console.print(work_table(made))
    console.print(Text.assemble(("at least ", "bold"), bound_text(made.expected_after)))
    if made.fusion:
        console.print()
        _title(console, "fusion")
        console.print(*map(fusion_line, made.fusion), sep="\n", soft_wrap=True, markup=False)
    if made.ahead:
        console.print()
        _title(console, "ahead")
        console.print(*map(ahead_line, made.ahead), sep="\n", soft_wrap=True, markup=False)
    if failing := [*failure_lines(made.engines)]:
        console.print()
        _title(console, "when engines fail")
        console.print(*failing, sep="\n", soft_wrap=True, markup=False)
    if made.advice:
        console.print()
        _title(console, "advice")
        console.print(*advice_lines(made.advice), sep="\n")
    console.print()
    console.print(_verdict(made), soft_wrap=True)


def sizes(graph: Graph) -> str:
    """The size of a graph in engine primitives, and its longest chain of them."""
    chain = longest_chain(graph)
    return f"{count(num_primitives(graph), 'engine primitive')}, longest chain {chain}"


def num_primitives(graph: Graph) -> int:
    return sum(num_engine_ops(node) for node in graph.nodes)


def _verdict(made: Plan) -> Text:
    before, after = longest_chain(made.before), longest_chain(made.after)
    expected, planned = made.expected_before.path_s, made.expected_after.path_s
    style = "bold green" if planned < expected else "bold"
    return Text.assemble(
        ("longest chain ", "bold"),
        (f"{before} -> {after}", "bold green" if after < before else "bold"),
        f", engine primitives {num_primitives(made.before)} -> {num_primitives(made.after)}, ",
        ("critical path ", "bold"),
        (change(expected, planned), style),
    )


def _title(console: Console, text: str) -> None:
    console.print(Rule(Text(text, "bold"), align="left", style="dim"))


def _report_lines(
    number: int, report: PassReport, before: Estimate, after: Estimate
) -> Iterator[Text]:
    kinds = (("added", report.added), ("removed", report.removed), ("changed", report.changed))
    did = ", ".join(f"{len(names)} {kind}" for kind, names in kinds if names)
    gain = gain_text(before, after)
    yield Text.assemble(
        f"{number}. ",
        (report.name, "bold"),
        (f"  {did or 'nothing to do'}", "dim"),
        (f"  {gain}" if gain else "", "green"),
    )
    for line in _changes(report):
        sign, text = line[0], line[1:].strip()
        colour = "green" if sign == "+" else "red"
        yield Text.assemble(("   " + sign + " ", colour), styled(text))


def _changes(report: PassReport) -> Iterator[str]:
    """The lines of the graph's text that went and came, bodies of maps among them."""
    before = to_text(report.before, origins=False).splitlines()
    after = to_text(report.after, origins=False).splitlines()
    for line in difflib.unified_diff(before, after, n=0, lineterm=""):
        if line[0] in "+-" and line[:3] not in ("+++", "---"):
            yield line


def _graph_json(graph: Graph) -> dict[str, Any]:
    sizes = {"engine_primitives": num_primitives(graph), "longest_chain": longest_chain(graph)}
    return {**sizes, "graph": to_json(graph)}


def _estimate_json(estimate: Estimate) -> dict[str, Any]:
    return {
        "critical_path_s": estimate.path_s,
        "critical_path": [{"node": s.node, "op": s.op, "adds_s": s.adds_s} for s in estimate.path],
        "work_s": dict(estimate.work_s),
        "device_s": dict(estimate.device_s),
        "bound_s": estimate.bound_s,
        "bound_by": estimate.bound_by,
    }


def _fusion_json(choice: FusionChoice) -> dict[str, Any]:
    exact_s, fused_s = choice.times_s or (None, None)
    return {
        "node": choice.node,
        "plan": choice.plan or "exact",
        "reason": choice.reason,
        "from_tokens": choice.from_tokens,
        "exact_s": exact_s,
        "fused_s": fused_s,
    }


def _ahead_json(choice: AheadChoice) -> dict[str, Any]:
    return {"node": choice.node, "is_made": choice.is_made, "reason": choice.reason}


def _report_json(report: PassReport, before: Estimate, after: Estimate) -> dict[str, Any]:
    return {
        "name": report.name,
        "added": report.added,
        "removed": report.removed,
        "changed": report.changed,
        "changes": list(_changes(report)),
        "critical_path_s": {"before": before.path_s, "after": after.path_s},
        "bound_s": {"before": before.bound_s, "after": after.bound_s},
    }
