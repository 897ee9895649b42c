"""Merge equal pure nodes: same op, args, attrs and bodies; the earlier one stays.

The args of a node are merged before the node, so equal chains collapse from their start: two calls
that begin alike share their context (prefix sharing). Sampled decodes never merge, nor do calls
that read the world: it changes by itself. What is wanted for different objectives is done once too,
for latency if one of its readers wants that.

    %a0 = context [engine="m"]                            %a0 = context [engine="m"]
    %a1 = prefill %a0 "Be brief." [engine="m"]            %a1 = prefill %a0 "Be brief." [engine="m"]
    %b0 = context [engine="m"]                    ->      %a2 = prefill %a1 %x [engine="m"]
    %b1 = prefill %b0 "Be brief." [engine="m"]            %b2 = prefill %a1 %y [engine="m"]
    %a2 = prefill %a1 %x [engine="m"]
    %b2 = prefill %b1 %y [engine="m"]
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import replace

from graph_opt.graph import Graph, Json, Node
from graph_opt.objective import LATENCY
from graph_opt.ops import is_pure, reads_state
from graph_opt.rewrite import Replacement, in_bodies, rewrite, substitute
from graph_opt.text import arg_text, json_text


def deduplicate(graph: Graph) -> Graph:
    """The graph in which each pure thing is done once."""
    first: dict[Hashable, Node] = {}
    wanted_for: defaultdict[str, set[Json]] = defaultdict(set)

    def merge(node: Node, _: Graph) -> Replacement | None:
        if node.op == "input" or not is_pure(node):
            return None
        earlier = first.setdefault(_key(_without_objective(node), {}), node)
        wanted_for[earlier.name].add(node.attrs.get("objective"))
        if earlier is node:
            return None
        return Replacement(rename=dict(zip(node.outputs, earlier.outputs, strict=True)))

    def mark(node: Node, _: Graph) -> list[Node] | None:
        wanted = wanted_for.get(node.name, set())
        if len(wanted) < 2:
            return None
        plain = _without_objective(node)  # without a mark it is for what its readers are for
        marked = replace(plain, attrs={**plain.attrs, "objective": LATENCY})
        return [marked if LATENCY in wanted else plain]

    merged = rewrite(in_bodies(graph, deduplicate), merge, recurse=False)
    return rewrite(merged, mark, recurse=False)


def _without_objective(node: Node) -> Node:
    attrs = {name: value for name, value in node.attrs.items() if name != "objective"}
    return replace(node, attrs=attrs)


def _key(node: Node, names: Mapping[str, str]) -> Hashable:
    """Equal for nodes that do the same; reads of outside state must also come at the same time."""
    args = tuple(map(arg_text, substitute(node.args, names)))
    attrs = tuple((key, json_text(value)) for key, value in sorted(node.attrs.items()))
    after = frozenset(names.get(name, name) for name in node.after) if reads_state(node) else None
    return node.op, args, attrs, after, tuple(map(_body_key, node.bodies))


def _body_key(body: Graph) -> Hashable:
    """Equal for bodies that differ in names only: values are numbered in order."""
    values = [value for node in body.nodes for value in node.outputs]
    numbers = {value: str(index) for index, value in enumerate(values)}
    nodes = tuple(_key(node, numbers) for node in body.nodes)
    return nodes, tuple(numbers[value] for value in body.outputs)
