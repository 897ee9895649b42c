"""Remove the ordering edges that no effect requires, so that independent calls run in parallel.

A traced graph carries the program's order: each call is after the one before. Two things of it are
observable (`analysis/program_order.py`): the order of nodes that access the same outside state, and
that an effect comes after all before it that may fail. Just the edges for that are kept, and pure
work starts when its inputs are there. Maps without effects run their items in parallel.

    %a = embed %q [engine="e"]
    %h = search %x %q %a [engine="s"] after %a
    %j = join %h
    %w = call %q [fn="send"] after %h
    %b = embed %j [engine="e"] after %w
    ->
    %a = embed %q [engine="e"]
    %h = search %x %q %a [engine="s"]
    %j = join %h
    %w = call %q [fn="send"] after %j
    %b = embed %j [engine="e"]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graph_opt.analysis.program_order import needed_edges
from graph_opt.graph import Graph, Node
from graph_opt.ops import has_effects
from graph_opt.rewrite import in_bodies, rewrite


def prune_dependencies(graph: Graph) -> Graph:
    """The graph with only the control edges that keep an observable order."""
    graph = in_bodies(graph, prune_dependencies)
    needed = needed_edges(graph, keep=False)

    def relax(node: Node, _: Graph) -> Sequence[Node] | None:
        attrs = node.attrs
        if node.bodies and not has_effects(node):
            attrs = {key: value for key, value in node.attrs.items() if key != "order"}
        if (attrs, needed[node.name]) == (node.attrs, node.after):
            return None
        return [replace(node, attrs=attrs, after=needed[node.name])]

    return rewrite(graph, relax, recurse=False)
