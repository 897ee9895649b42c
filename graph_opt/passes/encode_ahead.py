"""Compute the KV of what a search found while a reranker still chooses from it.

A fused prompt reads its chunks wherever they stand, so their order need not be known. The engine
does it when it has nothing else to do, and stops when the prompt comes (`runtime/asides.py`). No
prompt waits for it, and none gets another answer by it.

    %best = rerank %q %hits [engine="r", k=3]
    %text = join %best [chunks=true]
    %c1 = prefill %c0 "Passages:" @chunks %text %q [engine="m", fusion="lego(16)"]
    ->
    %best = rerank %q %hits [engine="r", k=3]
    %text = join %best [chunks=true]
    %text.ahead = join %hits [ahead_of="c1", chunks=true]
    %c1.ahead = encode %c0 "Passages:" @chunks %text.ahead [ahead_of="c1", engine="m"]
    %c1 = prefill %c0 "Passages:" @chunks %text %q [engine="m", fusion="lego(16)"]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graph_opt.analysis.readiness import readiness
from graph_opt.encoding import encoding
from graph_opt.facts import NO_FACTS, Facts
from graph_opt.graph import CHUNKS, Arg, Graph, Json, Node, Ref
from graph_opt.rewrite import fresh_name, in_bodies, rewrite

_CHOOSES = ("apply", "get", "order")  # ops that take some of a list


def encode_ahead(graph: Graph, facts: Facts = NO_FACTS) -> Graph:
    """The graph with an `encode` for each fused prompt whose passages are reranked, where the two
    engines are on devices of their own and the reranker takes longer than a call."""
    graph = in_bodies(graph, lambda body: encode_ahead(body, facts))

    def add(node: Node, _: Graph) -> Sequence[Node] | None:
        nodes = _ahead_of(node, graph, facts)
        return [*nodes, node] if nodes else None

    return rewrite(graph, add, recurse=False)


def _ahead_of(node: Node, graph: Graph, facts: Facts) -> Sequence[Node]:
    if node.op != "prefill" or CHUNKS not in node.args:
        return ()
    at = node.args.index(CHUNKS)
    text = node.args[at + 1]
    assert isinstance(text, Ref), "a value follows @chunks"
    join = graph.producer(text.name)
    rerank = _reranker_behind(join, graph) if join.op == "join" else None
    if rerank is None or not isinstance(hits := rerank.args[1], Ref):
        return ()
    is_useful = _pays(node, rerank, facts) and _is_in_time(node.args[:at], hits, graph)
    return _nodes(node, join, hits, at, graph) if is_useful else ()


def _reranker_behind(join: Node, graph: Graph) -> Node | None:
    node = join
    while isinstance(items := node.args[0], Ref):
        node = graph.producer(items.name)
        if node.op == "rerank":
            return node
        if node.op not in _CHOOSES:
            break
    return None


def _pays(node: Node, rerank: Node, facts: Facts) -> bool:
    llm, reranker = (facts.devices.get(str(each.attrs["engine"])) for each in (node, rerank))
    if llm is None or llm == reranker:
        return False
    cost, other = facts.cost_of(node), facts.cost_of(rerank)
    if cost is None or other is None:
        return True
    empty = replace(node, args=(node.args[0], "."))
    return other.seconds(rerank) > cost.seconds(empty)


def _is_in_time(head: Sequence[Arg], hits: Ref, graph: Graph) -> bool:
    """Whether the head of the prompt is there when the candidates are."""
    ranks = readiness(graph)
    last = ranks[graph.producer(hits.name).name]
    values = (arg.name for arg in head if isinstance(arg, Ref))
    return all(ranks[graph.producer(value).name] <= last for value in values)


def _nodes(node: Node, join: Node, hits: Ref, at: int, graph: Graph) -> tuple[Node, Node]:
    text, name = (fresh_name(graph, f"{each.name}.ahead") for each in (join, node))
    mark: dict[str, Json] = {"ahead_of": node.name}
    attrs = {**join.attrs, **mark}
    candidates = replace(join, outputs=(text,), args=(Ref(hits.name),), attrs=attrs, after=())
    encode = encoding(node, node.args[:at], text, name)
    return candidates, replace(encode, attrs={**encode.attrs, **mark})
