"""Let a prompt take its documents in an order that the prefix cache knows, where it may.

`tl.join(docs, reorder=True)` says so. The order is chosen in the run, among prompts of one head
(`runtime/prefix_orders.py`); the attr `by` names that head. A fused prompt needs no order, and one
whose head differs from query to query finds nothing in the cache.

    %some = order %docs                        %some = order %docs [by="3f1c..."]
    %text = join %some                         %text = join %some
    %c1 = prefill %c0 "Passages:" %text   ->   %c1 = prefill %c0 "Passages:" %text
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b

from graph_opt.graph import Graph, Node, Ref
from graph_opt.prompts import kept_attrs
from graph_opt.rewrite import in_bodies, rewrite
from graph_opt.text import arg_text, json_text


def order_documents(graph: Graph) -> Graph:
    """The graph with `by` in each order that such a prompt reads first."""
    graph = in_bodies(graph, order_documents)
    heads = dict(_heads(graph))

    def name(node: Node, _: Graph) -> Sequence[Node] | None:
        if node.name not in heads:
            return None
        return [replace(node, attrs={**node.attrs, "by": heads[node.name]})]

    return rewrite(graph, name, recurse=False) if heads else graph


def _heads(graph: Graph) -> Iterator[tuple[str, str]]:
    """The orders that prompts read behind nothing but constants, with the names of these."""
    for node in graph.nodes:
        if node.op != "prefill" or graph.producer(node.inputs[0]).op != "context":
            continue
        join = graph.producer(node.inputs[1]) if len(node.inputs) > 1 else node
        if join.op != "join" or not join.inputs:
            continue
        order = graph.producer(join.inputs[0])
        if order.op == "order":
            head = node.args[1 : node.args.index(Ref(node.inputs[1]))]
            key = json_text([kept_attrs(node), dict(join.attrs), *map(arg_text, head)])
            yield order.name, blake2b(key.encode("utf-8", "replace"), digest_size=8).hexdigest()
