"""Send the last piece of a prompt with the decode that follows it: one request instead of two.

The engine then takes the prompt's end and the first token in one step, and a wide map holds the
KV of those items alone that are being written: no prompt waits prefilled for its decode. A prefill
that another node continues, or that could start before its decode, stays a request of its own.

    %c1 = prefill %c0 @user %q @assistant [engine="m"]
    %t, %c2 = decode %c1 [engine="m"]
    ->
    %t, %c2 = decode %c0 @user %q @assistant [engine="m"]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graph_opt.facts import NO_FACTS, Facts
from graph_opt.graph import Graph, Node
from graph_opt.prompts import conversation_attrs
from graph_opt.rewrite import in_bodies, rewrite


def fuse_decode(graph: Graph, facts: Facts = NO_FACTS) -> Graph:
    """The graph with each last prefill inside its decode, on engines that take `decode_parts`."""
    graph = in_bodies(graph, lambda body: fuse_decode(body, facts))
    last = {decode.name: prefill for decode, prefill in _pairs(graph, facts)}
    fused = {prefill.name for prefill in last.values()}

    def fuse(node: Node, _: Graph) -> Sequence[Node] | None:
        if node.name in fused:
            return ()
        if node.name not in last:
            return None
        prefill, decode = last[node.name], graph.node(node.name)
        after = dict.fromkeys((*prefill.after, *decode.after))
        attrs = {**conversation_attrs(prefill), **decode.attrs}
        return [replace(decode, args=prefill.args, attrs=attrs, after=tuple(after))]

    return rewrite(graph, fuse, recurse=False)


def _pairs(graph: Graph, facts: Facts) -> list[tuple[Node, Node]]:
    found = []
    for decode in graph.nodes:
        if decode.op != "decode" or not facts.can(decode, "decode_parts"):
            continue
        prefill = graph.producer(decode.inputs[0])
        if len(decode.args) == 1 and prefill.op == "prefill" and _goes_with(prefill, decode, graph):
            found.append((decode, prefill))
    return found


def _goes_with(prefill: Node, decode: Node, graph: Graph) -> bool:
    """Whether nobody else needs the prefill, and the decode waits for nothing more than it does."""
    is_alone = [child.name for child in graph.children(prefill)] == [decode.name]
    return (
        is_alone
        and "ahead" not in prefill.attrs
        and "fusion" not in prefill.attrs  # chunks are read by a prefill
        and prefill.name not in graph.outputs
        and prefill.attrs.get("adapter") == decode.attrs.get("adapter")
        and decode.attrs.get("tools") in (None, prefill.attrs.get("tools"))
        and set(decode.after) <= set(prefill.after)
    )
