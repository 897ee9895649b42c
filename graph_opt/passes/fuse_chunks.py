"""Have a prompt read the KV of its joined items wherever they stand, where that was asked for.

The choice of the plan, with its reasons, is an analysis (`graph_opt/analysis/fusion_choices.py`).
The items of a chunked join are parts of the prompt; `@chunks` marks the value. Lossy: without a
wish for it, nothing changes.

    %text = join %docs [reuse="fuse", template="{text}"]
    %c1 = prefill %c0 @user "Passages:" %text %question @assistant [engine="m"]
    ->
    %text = join %docs [chunks=true, reuse="fuse", template="{text}"]
    %c1 = prefill %c0 @user "Passages:" @chunks %text %question @assistant [engine="m",
        fusion="query(0.15)", fusion_from=512]
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from graph_opt.analysis.fusion_choices import FusionChoice, fusion_choices
from graph_opt.facts import NO_FACTS, Facts
from graph_opt.graph import CHUNKS, Arg, Graph, Json, Node, Ref
from graph_opt.paths import bodies_of
from graph_opt.rewrite import rewrite


def fuse_chunks(graph: Graph, facts: Facts = NO_FACTS) -> Graph:
    """The graph with a plan in each prefill that is to be fused."""
    fused = {choice.node: choice for choice in fusion_choices(graph, facts) if choice.plan}
    if not fused:
        return graph
    joins = frozenset(join for choice in fused.values() for join in choice.joins.values())
    return _marked(graph, "", fused, joins)


def _marked(
    graph: Graph, path: str, fused: Mapping[str, FusionChoice], joins: Collection[str]
) -> Graph:
    def mark(node: Node, _: Graph) -> list[Node] | None:
        if node.bodies:
            bodies = (_marked(body, inner, fused, joins) for inner, body in bodies_of(node, path))
            return [replace(node, bodies=tuple(bodies))]
        if path + node.name in joins:
            return [replace(node, attrs={**node.attrs, "chunks": True})]
        choice = fused.get(path + node.name)
        return None if choice is None else [_fused(node, choice)]

    return rewrite(graph, mark, recurse=False)


def _fused(node: Node, choice: FusionChoice) -> Node:
    args: list[Arg] = []
    for arg in node.args:
        is_chunked = isinstance(arg, Ref) and arg.name in choice.joins
        args += [CHUNKS, arg] if is_chunked else [arg]
    attrs: dict[str, Json] = {**node.attrs, "fusion": choice.plan}
    if choice.from_tokens is not None:
        attrs["fusion_from"] = choice.from_tokens
    return replace(node, args=tuple(args), attrs=attrs)
