"""The graph that computes the KV of items behind the heads of an app's fused prompts.

It takes the items and gives the number of chunks that were computed, for each different head. Where
a value stands before the chunks, nothing can be computed ahead, but by plans with `+alone`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from graph_opt.analysis.fusion_choices import FusionChoice, encodes_otherwise, is_alone
from graph_opt.graph import CHUNKS, Arg, Graph, Json, Node, Ref
from graph_opt.ops import CONTEXT_TYPE
from graph_opt.paths import walk
from graph_opt.prompts import kept_attrs
from graph_opt.text import arg_text, json_text

ITEMS = "items"  # the graph's input


def encoding_graph(graph: Graph, choices: Sequence[FusionChoice]) -> Graph | None:
    """Of a graph before its prompts are cut; None where no prompt is fused behind a constant
    head."""
    found: dict[str, tuple[Node, Node, Sequence[Arg]]] = {}
    for join, prefill, head in _fused(graph, choices):
        key: Json = [dict(join.attrs), _encode_attrs(prefill), *map(arg_text, head)]
        found.setdefault(json_text(key), (join, prefill, head))
    if not found:
        return None
    nodes = [Node((ITEMS,), "input", attrs={"type": "list"})]
    for number, (join, prefill, head) in enumerate(found.values()):
        context, text, count = (f"{name}{number}" for name in (CONTEXT_TYPE, "text", "count"))
        attrs = {**join.attrs, "chunks": True}
        nodes += [
            Node((context,), "context", attrs={"engine": prefill.attrs["engine"]}),
            replace(join, outputs=(text,), args=(Ref(ITEMS),), attrs=attrs, after=()),
            encoding(prefill, (Ref(context), *head), text, count),
        ]
    counts = [Ref(f"count{number}") for number in range(len(found))]
    return Graph("encode_ahead", (*nodes, Node(("counts",), "pack", tuple(counts))), ("counts",))


def encoding(prefill: Node, head: Sequence[Arg], text: str, name: str) -> Node:
    """The node that encodes a joined text behind the context and the head of a fused prefill."""
    args = (*head, CHUNKS, Ref(text))
    return replace(
        prefill, outputs=(name,), op="encode", args=args, attrs=_encode_attrs(prefill), after=()
    )


def _encode_attrs(prefill: Node) -> dict[str, Json]:
    """With the plan where it says how chunks are encoded."""
    plan = str(prefill.attrs.get("fusion", ""))
    return {**kept_attrs(prefill), **({"fusion": plan} if encodes_otherwise(plan) else {})}


def _fused(
    graph: Graph, choices: Sequence[FusionChoice]
) -> Iterator[tuple[Node, Node, Sequence[Arg]]]:
    """The first join of each fused prefill, the prefill, and the constants that it begins with."""
    nodes = {path: (node, inner) for path, node, inner in walk(graph)}
    for choice in choices:
        prefill, inner = nodes[choice.node]
        if choice.plan is None:
            continue
        first, text = prefill.inputs[1], next(v for v in prefill.inputs[1:] if v in choice.joins)
        is_behind_constants = first == text and inner.producer(prefill.inputs[0]).op == "context"
        if is_behind_constants or is_alone(choice.plan):
            join, _ = nodes[choice.joins[text]]
            planned = replace(prefill, attrs={**prefill.attrs, "fusion": choice.plan})
            yield join, planned, prefill.args[1 : prefill.args.index(Ref(first))]
