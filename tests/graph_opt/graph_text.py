"""Graphs written in tests: only the lines between the braces."""

from textwrap import dedent, indent

from graph_opt.graph import Graph
from graph_opt.pipeline import Pass
from graph_opt.text import parse


def wrap(lines: str) -> str:
    return "graph g {\n" + indent(dedent(lines).strip("\n "), "  ") + "\n}"


def graph(lines: str) -> Graph:
    return parse(wrap(lines))


def assert_rewrites(run: Pass, before: str, after: str) -> None:
    assert str(run(graph(before))) == wrap(after)


def assert_keeps(run: Pass, lines: str) -> None:
    assert_rewrites(run, lines, lines)
