"""Drop the control edges that nobody could see missing, so that independent calls run side by side.

A traced graph carries the program's order: each call is after the one before. Only an order between
nodes that touch the same outside state can be seen (`ops.Access`), so exactly that order is kept,
also where it led through other nodes. Maps without effects run their items side by side.

    %i = ingest %docs null [engine="s"]
    %e = embed %q [engine="e"] after %i
    %h = search null %q %e [engine="s"] after %e
    ->
    %i = ingest %docs null [engine="s"]
    %e = embed %q [engine="e"]
    %h = search null %q %e [engine="s"] after %i
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graph_opt.graph import Graph, Node
from graph_opt.ops import Access, access, has_effects
from graph_opt.rewrite import in_bodies, rewrite


def prune_dependencies(graph: Graph) -> Graph:
    """The graph with only the control edges that keep an order somebody could see."""
    graph = in_bodies(graph, prune_dependencies)
    needed = _needed_edges(graph)

    def relax(node: Node, _: Graph) -> Sequence[Node]:
        return [_without_order(replace(node, after=needed[node.name]))]

    return rewrite(graph, relax, recurse=False)


def _needed_edges(graph: Graph) -> dict[str, tuple[str, ...]]:
    before = _ancestors(graph)
    touching: list[tuple[str, Access]] = []  # latest first
    reached: dict[str, set[str]] = {}  # the ancestors of each node when only needed edges remain
    needed: dict[str, tuple[str, ...]] = {}
    for node in graph.nodes:
        mine = access(node)
        reach = _behind([graph.producer(value).name for value in node.inputs], reached)
        edges: list[str] = []
        for name, theirs in touching:
            is_ordered_only_here = name in before[node.name] and name not in reach
            if is_ordered_only_here and mine.conflicts(theirs):
                edges.insert(0, name)
                reach |= _behind([name], reached)
        reached[node.name], needed[node.name] = reach, tuple(edges)
        if mine.reads or mine.writes:
            touching.insert(0, (node.name, mine))
    return needed


def _ancestors(graph: Graph) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for node in graph.nodes:
        found[node.name] = _behind([parent.name for parent in graph.parents(node)], found)
    return found


def _behind(parents: Sequence[str], ancestors: dict[str, set[str]]) -> set[str]:
    return set(parents).union(*(ancestors[parent] for parent in parents))


def _without_order(node: Node) -> Node:
    if node.body is None or has_effects(node):
        return node
    return replace(node, attrs={key: node.attrs[key] for key in node.attrs if key != "order"})
