"""Cut a prompt where its parts become ready at different times, and where two prompts part ways.

The head of a prompt is prefilled while the rest is still being computed; a head that two prompts
of one context have in common becomes a piece of its own, which `deduplicate` then shares. A cut
changes no token, since prompts are tokenised part by part.

    %c1 = prefill %c0 "Answer from these passages:" %docs [engine="m"]
    ->
    %c1.0 = prefill %c0 "Answer from these passages:" [engine="m"]
    %c1 = prefill %c1.0 %docs [engine="m"]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise

from graph_opt.analysis.constant_heads import constant_end
from graph_opt.analysis.readiness import readiness
from graph_opt.cost_model import CostModel
from graph_opt.facts import NO_FACTS, Facts
from graph_opt.graph import CHUNKS, Arg, Graph, Marker, Node, Ref
from graph_opt.prompts import part_start, without_fusion
from graph_opt.rewrite import fresh_name, in_bodies, rewrite
from graph_opt.text import arg_text, json_text
from graph_opt.tokens import num_tokens


def split_prefill(graph: Graph, facts: Facts = NO_FACTS, min_head_tokens: int = 8) -> Graph:
    """The graph with each prefill in as many pieces as pay: a head of at least so many tokens.

    Engines without the capability `prefill` get whole prompts; those that can `pin` keep constant
    heads, which are not cut off. Where costs are known, a head must
    also take more off the critical path than its own call adds to the work of the engine; a device
    that is busy all along has no time to prefill a head meanwhile.
    """
    graph = in_bodies(graph, lambda body: split_prefill(body, facts, min_head_tokens))
    ranks, counts = readiness(graph), _count_heads(graph)

    def cut(node: Node, _: Graph) -> Sequence[Node] | None:
        if node.op != "prefill" or not facts.can(node, "prefill") or "ahead" in node.attrs:
            return None
        shared = set(_shared_heads(node, counts, min_head_tokens))
        late = _late_parts(node, graph, ranks, shared, min_head_tokens)
        if facts.cost_of(node) is not None and facts.device_binds(graph, node):
            late = iter(())  # while the rest comes, the device is busy with that
        wanted = _before_chunks(node.args, {*late, *shared})
        cuts = list(_between_texts(node.args, sorted(wanted)))
        if facts.has(node, "pin"):  # the runtime has the engine keep heads that never change
            cuts = [cut for cut in cuts if cut > constant_end(node, graph)]
        cost = facts.cost_of(node)
        if cost is not None:
            cuts = list(_that_pay(_as_request(node, facts), cuts, cost))
        return list(_pieces(node, cuts, graph)) if cuts else None

    return rewrite(graph, cut, recurse=False)


def _late_parts(
    node: Node, graph: Graph, ranks: dict[str, int], cuts: set[int], min_head_tokens: int
) -> Iterator[int]:
    """Where a part is ready later than the context and all parts before it, and the head pays."""
    start, latest = 1, ranks[graph.producer(node.inputs[0]).name]
    for index, part in enumerate(node.args[1:], 1):
        rank = ranks[graph.producer(part.name).name] if isinstance(part, Ref) else 0
        if rank <= latest:
            continue
        latest = rank
        before = part_start(node.args, index)
        start = max([start, *(cut for cut in cuts if cut <= before)])
        if _is_worth(node.args[start:before], min_head_tokens):
            yield before
            start = before


def _shared_heads(node: Node, counts: Counter[bytes], min_head_tokens: int) -> Iterator[int]:
    """Where the node parts ways with another prefill of the same context."""
    num_alike = [counts[head] for head in _heads(node)]
    for end in range(2, len(node.args)):
        if num_alike[end] < num_alike[end - 1] and _is_worth(node.args[1:end], min_head_tokens):
            yield part_start(node.args, end)


def _count_heads(graph: Graph) -> Counter[bytes]:
    return Counter(head for node in graph.nodes if node.op == "prefill" for head in _heads(node))


def _heads(node: Node) -> Iterator[bytes]:
    """A key for the first arg, the first two, and so on; equal where the args so far are."""
    so_far = sha256(json_text(dict(node.attrs)).encode())
    for arg in node.args:
        text = arg_text(arg).encode("utf-8", "surrogatepass")
        so_far.update(b"%d:%b" % (len(text), text))
        yield so_far.digest()


def _is_worth(parts: Sequence[Arg], min_head_tokens: int) -> bool:
    return num_tokens(parts) >= max(1, min_head_tokens)


def _before_chunks(args: Sequence[Arg], cuts: set[int]) -> set[int]:
    """Chunks stay with all that follows, which says what of them is computed again."""
    if CHUNKS not in args:
        return cuts
    first = part_start(args, args.index(CHUNKS))
    return {min(cut, first) for cut in cuts}


def _between_texts(args: Sequence[Arg], cuts: Sequence[int]) -> Iterator[int]:
    start = 1
    for cut in cuts:
        if _has_text(args[start:cut]) and _has_text(args[cut:]):
            yield cut
            start = cut


def _as_request(node: Node, facts: Facts) -> Node:
    """The node as it costs something: a prefill that stays with the client is free."""
    if not facts.has(node, "warm_up"):
        return node
    return replace(node, attrs={**node.attrs, "ahead": True})


def _that_pay(node: Node, cuts: Sequence[int], cost: CostModel) -> Iterator[int]:
    """Cuts whose head saves more than a further call costs, both by what the model says of both."""
    start = 1
    for cut in cuts:
        whole, head, rest = (
            cost.seconds(replace(node, args=(node.args[0], *parts)))
            for parts in (node.args[start:], node.args[start:cut], node.args[cut:])
        )
        if whole - rest > head + rest - whole:
            yield cut
            start = cut


def _has_text(parts: Sequence[Arg]) -> bool:
    return any(not isinstance(part, Marker) and part != "" for part in parts)


def _pieces(node: Node, cuts: Sequence[int], graph: Graph) -> Iterator[Node]:
    context, after = node.args[0], node.after
    for number, (start, end) in enumerate(pairwise([1, *cuts, len(node.args)])):
        is_last = end == len(node.args)
        name = node.name if is_last else fresh_name(graph, f"{node.name}.{number}")
        args = (context, *node.args[start:end])
        piece = replace(node, outputs=(name,), args=args, after=after)
        yield piece if CHUNKS in args else without_fusion(piece)
        context, after = Ref(name), ()
