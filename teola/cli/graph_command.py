"""`teola graph APP`."""

import sys
from collections.abc import Sequence

from graph_opt.draw import to_dot, to_json, to_mermaid, to_outline, to_svg
from graph_opt.graph import Graph
from graph_opt.text import to_text
from teola.cli.app_arguments import Command, parse
from teola.cli.consoles import stdout_console
from teola.cli.failures import reported
from teola.cli.options import COMMON, Option
from teola.cli.results import json_text
from teola.viewer.graph_text import graph_lines, print_lines

OPTIONS = (
    Option(
        "level",
        "the calls of the app's user (default) or the primitives they are made of",
        "user|primitive",
        {"choices": ("user", "primitive"), "default": "user"},
    ),
    Option(
        "format",
        "text (default), svg for a browser, or for other tools mermaid, dot or json",
        "text|svg|mermaid|dot|json",
        {"choices": ("text", "svg", "mermaid", "dot", "json"), "default": "text"},
    ),
    Option("optimized", "the graph after all passes, as it is run"),
    *COMMON,
)
ABOUT = "Print an app's graph. Only arguments that specialise the graph are needed."


def graph(words: Sequence[str], prog: str = "teola graph") -> None:
    """The whole command; ends the process when anything fails."""
    with reported("--debug" in words or "--run-debug" in words):
        invocation = parse(Command(prog, ABOUT, OPTIONS, needs_all=False), words)
        app, options = invocation.app, invocation.options
        traced = app.graph(**invocation.arguments)
        shown = app.plan(**invocation.arguments).after if options.optimized else traced
        if options.format == "text" and options.level == "primitive":
            lines = graph_lines(to_text(shown))
            print_lines(stdout_console(options.no_color), lines)
        else:
            sys.stdout.write(_drawing(shown, options.format, options.level == "user"))


def _drawing(graph: Graph, form: str, by_call: bool) -> str:
    match form:
        case "svg":
            return to_svg(graph, by_call) + "\n"
        case "mermaid":
            return to_mermaid(graph, by_call)
        case "dot":
            return to_dot(graph, by_call)
        case "json":
            return json_text(to_json(graph, by_call), indent=2) + "\n"
    return to_outline(graph)
