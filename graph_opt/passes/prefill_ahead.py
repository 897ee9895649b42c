"""Compute a prompt with the documents in the order of the search while a reranker orders them.

RAGCache's speculative prefill (arXiv 2404.12457). The engine does it when it has room, and stops
when the prompt comes (`runtime/asides.py`), which finds what it begins with in the prefix cache.
It changes no answer. Which prompts: `graph_opt/analysis/ahead_choices.py`.

    %best = rerank %q %hits [engine="r", k=3]
    %text = join %best
    %c1 = prefill %c0 "Passages:" %text %q [engine="m"]
    ->
    %best = rerank %q %hits [engine="r", k=3]
    %text = join %best
    %best.ahead = apply %hits [ahead_of="c1", fn="slice", stop=3]
    %text.ahead = join %best.ahead [ahead_of="c1"]
    %c1.ahead = prefill %c0 "Passages:" %text.ahead %q [ahead_of="c1", asked=true, engine="m"]
    %c1 = prefill %c0 "Passages:" %text %q [engine="m"]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from graph_opt.analysis.ahead_choices import Guess, guess_of, pays
from graph_opt.facts import NO_FACTS, Facts
from graph_opt.graph import Graph, Json, Node, Ref
from graph_opt.prompts import kept_attrs
from graph_opt.rewrite import fresh_name, in_bodies, rewrite


def prefill_ahead(graph: Graph, facts: Facts = NO_FACTS) -> Graph:
    """The graph with a `prefill` ahead of each prompt whose documents are reranked, where the app
    asks for it or where costs say that the engine waits for the reranker meanwhile."""
    if facts.prefill_ahead is False:
        return graph
    graph = in_bodies(graph, lambda body: prefill_ahead(body, facts))

    def add(node: Node, _: Graph) -> Sequence[Node] | None:
        guess = guess_of(node, graph)
        if guess is None or not pays(guess, facts)[0]:
            return None
        return [*_ahead(guess, graph, facts), node]

    return rewrite(graph, add, recurse=False)


def _ahead(guess: Guess, graph: Graph, facts: Facts) -> Iterator[Node]:
    node, docs = guess.node, guess.hits
    mark: dict[str, Json] = {"ahead_of": node.name}
    for choosing in _choosing(guess):
        name = fresh_name(graph, f"{choosing.name}.ahead")
        attrs = {**choosing.attrs, **mark}
        yield replace(choosing, outputs=(name,), args=(Ref(docs),), attrs=attrs, after=())
        docs = name
    args = (*node.args[: guess.at], Ref(docs), *node.args[guess.at + 1 : guess.end])
    attrs = {**kept_attrs(node), **mark}
    attrs |= {"asked": True} if facts.prefill_ahead else {}
    attrs |= {"ahead": True} if facts.has(node, "warm_up") else {}
    name = fresh_name(graph, f"{node.name}.ahead")
    yield replace(node, outputs=(name,), op="prefill", args=args, attrs=attrs, after=())


def _choosing(guess: Guess) -> Iterator[Node]:
    """What takes the best of the documents and joins them."""
    k = guess.rerank.attrs.get("k")
    if isinstance(k, int):
        yield replace(guess.rerank, op="apply", attrs={"fn": "slice", "stop": k})
    yield from guess.slices
    yield guess.join
