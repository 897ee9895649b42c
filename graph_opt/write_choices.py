"""Have the model write one of the choices, on engines that cannot score texts.

A chat API tells no log-probabilities of given texts. There a `select` becomes a decode that is held
to its choices, in the plain graph too: what an app means depends on its engines here.

    %t, %s, %c2 = select %c1 ["yes", "no"] [engine="m"]
    ->
    %t, %c2 = decode %c1 [choices=["yes", "no"], engine="m", max_tokens=11]
"""

from __future__ import annotations

from dataclasses import replace

from graph_opt.errors import GraphError
from graph_opt.facts import Facts
from graph_opt.graph import Graph, Json, Node
from graph_opt.paths import walk
from graph_opt.rewrite import in_bodies, rewrite

END_TOKENS = 8  # beside the text: the end of the turn, and what a tokenizer cuts oddly


def write_choices(graph: Graph, facts: Facts) -> Graph:
    """The graph without selects that their engines cannot do. Raises GraphError for one whose
    scores are read, or whose choices come when it runs."""
    if all(facts.can(node, "select") for _, node, _ in walk(graph) if node.op == "select"):
        return graph
    graph = in_bodies(graph, lambda body: write_choices(body, facts))

    def write(node: Node, graph: Graph) -> list[Node] | None:
        if node.op != "select" or facts.can(node, "select"):
            return None
        text, scores, context = node.outputs
        choices = node.args[1]
        if scores in graph.outputs or graph.consumers(scores):
            raise _cannot(node, "its scores are read, which a text that is written has none of")
        if not isinstance(choices, list):
            raise _cannot(node, "its choices come when it runs, and a form must be known before")
        most: Json = END_TOKENS + max(len(str(choice).encode()) for choice in choices)
        held_to: dict[str, Json] = {"choices": choices, "max_tokens": most}
        kept = {name: value for name, value in node.attrs.items() if name != "score"}
        attrs = {**kept, **held_to}
        return [
            replace(node, op="decode", outputs=(text, context), args=node.args[:1], attrs=attrs)
        ]

    return rewrite(graph, write, recurse=False)


def _cannot(node: Node, why: str) -> GraphError:
    place = f" from {node.origin.file}:{node.origin.line}" if node.origin else ""
    engine = node.attrs["engine"]
    return GraphError(
        f"%{node.name} (select{place}): the engine {engine!r} cannot score texts, and {why}; run "
        "it on an engine that scores them (local:, vllm://, sglang://, teola://)"
    )
