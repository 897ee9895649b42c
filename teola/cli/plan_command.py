"""`teola plan APP`: the graph before, what each pass did to it, and the graph that runs."""

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

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
from teola.plan import Plan, longest_chain
from teola.viewer.formats import count
from teola.viewer.graph_text import graph_lines, print_lines, styled

OPTIONS = (Option("json", "the plan as JSON"), *COMMON)
ABOUT = (
    "Show what the optimizer does to an app's graph, pass by pass. Only arguments that specialise "
    "the graph are needed."
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
    return {
        "app": made.before.name,
        "before": _graph_json(made.before),
        "passes": [_report_json(report) for report in made.reports],
        "after": _graph_json(made.after),
    }


def show(console: Console, made: Plan) -> None:
    """Print the plan for people."""
    _title(console, f"before: {sizes(made.before)}")
    print_lines(console, graph_lines(to_text(made.before)))
    console.print()
    _title(console, f"passes: {len(made.reports)}")
    for number, report in enumerate(made.reports, start=1):
        print_lines(console, _report_lines(number, report))
    console.print()
    _title(console, f"after: {sizes(made.after)}")
    print_lines(console, graph_lines(to_text(made.after)))
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
    style = "bold green" if after < before else "bold"
    return Text.assemble(
        ("longest chain ", "bold"),
        (f"{before} -> {after}", style),
        f", engine primitives {num_primitives(made.before)} -> {num_primitives(made.after)}",
    )


def _title(console: Console, text: str) -> None:
    console.print(Rule(Text(text, "bold"), align="left", style="dim"))


def _report_lines(number: int, report: PassReport) -> Iterator[Text]:
    kinds = (("added", report.added), ("removed", report.removed), ("changed", report.changed))
    did = ", ".join(f"{len(names)} {kind}" for kind, names in kinds if names)
    yield Text.assemble(
        f"{number}. ", (report.name, "bold"), (f"  {did or 'nothing to do'}", "dim")
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


def _report_json(report: PassReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "added": report.added,
        "removed": report.removed,
        "changed": report.changed,
        "changes": list(_changes(report)),
    }
