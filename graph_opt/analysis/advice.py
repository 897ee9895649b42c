"""Advice on the layout of prompts, so that more tokens are prefilled early, or only once.

Causal attention reads a prompt from its start: what follows a part that is late, or that belongs to
one item of a map, can neither be prefilled before that part is ready nor be shared. Advice keeps to
one turn of a chat; moving text between turns would change what it says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from graph_opt.analysis.readiness import readiness
from graph_opt.graph import OF_NEXT_PART, Arg, Graph, Marker, Node, Origin, Ref
from graph_opt.ops import OPS
from graph_opt.paths import bodies_of
from graph_opt.tokens import num_tokens

MIN_TOKENS = 8  # fewer are not worth a change of the prompt


@dataclass(frozen=True, slots=True)
class Advice:
    """A prompt that could be ordered better."""

    node: str  # path of the prefill
    origin: Origin | None
    message: str  # one sentence
    num_tokens: int  # estimated, that could be prefilled early or shared


def layout_advice(graph: Graph, min_tokens: int = MIN_TOKENS) -> list[Advice]:
    """Where another order of a prompt's parts would help, in the order of the program."""
    return [advice for advice in _advice(graph, "", None) if advice.num_tokens >= min_tokens]


def _advice(graph: Graph, path: str, captures: Collection[str] | None) -> Iterator[Advice]:
    """Advice on a graph; on the body of a map or loop, where `captures` are what turns share."""
    ranks = readiness(graph)
    for node in graph.nodes:
        for inner, body in bodies_of(node, path):
            has_turns = node.op in ("map", "loop")
            shared = {param.name for param in body.params[1:]} if has_turns else None
            yield from _advice(body, inner, shared)
        prompt_from = OPS[node.op].prompt_from
        if prompt_from is None:
            continue
        parts = node.args[prompt_from:]
        yield from _on_late_parts(path + node.name, node, parts, graph, ranks)
        if captures is not None and _is_shared(node.args[:prompt_from], graph, captures):
            yield from _on_own_parts(path + node.name, node, parts, captures)


def _on_late_parts(
    path: str, node: Node, parts: Sequence[Arg], graph: Graph, ranks: Mapping[str, int]
) -> Iterator[Advice]:
    def rank(part: Arg) -> int:
        return ranks[graph.producer(part.name).name] if isinstance(part, Ref) else 0

    latest = rank(node.args[0]) if node.op == "prefill" else 0
    for turn in _turns(parts):
        late = next((i for i, part in enumerate(turn) if rank(part) > latest), None)
        if late is None:
            continue
        early = [part for part in turn[late + 1 :] if rank(part) < rank(turn[late])]
        latest = max(map(rank, turn))
        count = round(num_tokens(early))
        message = (
            f"move {_name(turn[late])} behind what follows it, which is known before: about "
            f"{count} tokens could then be prefilled while {_name(turn[late])} is being made"
        )
        yield Advice(path, node.origin, message, count)


def _on_own_parts(
    path: str, node: Node, parts: Sequence[Arg], captures: Collection[str]
) -> Iterator[Advice]:
    """Only the first turn with a part of the item's own: nothing behind that turn can be shared."""
    for turn in _turns(parts):
        own = next((i for i, part in enumerate(turn) if not _is_common(part, captures)), None)
        if own is None:
            continue
        count = round(num_tokens(part for part in turn[own:] if _is_common(part, captures)))
        message = (
            f"move {_name(turn[own])}, which differs from item to item, behind what follows it: "
            f"about {count} tokens could then be prefilled once for all items"
        )
        yield Advice(path, node.origin, message, count)
        return


def _is_shared(context: Sequence[Arg], graph: Graph, captures: Collection[str]) -> bool:
    """Whether a prompt continues a context that is the same for all items; the empty one is."""
    for arg in context:
        assert isinstance(arg, Ref), "a context is a value"
        maker = graph.producer(arg.name)
        if maker.op == "prefill":
            common = all(_is_common(part, captures) for part in maker.args[1:])
            if not common or not _is_shared(maker.args[:1], graph, captures):
                return False
        elif maker.op != "context" and maker.name not in captures:
            return False
    return True


def _is_common(part: Arg, captures: Collection[str]) -> bool:
    return not isinstance(part, Ref) or part.name in captures


def _turns(parts: Sequence[Arg]) -> Iterator[list[Arg]]:
    """The parts between the turns of a chat, without markers."""
    turn: list[Arg] = []
    for part in parts:
        if not isinstance(part, Marker):
            turn.append(part)
        elif part not in OF_NEXT_PART:
            yield turn
            turn = []
    yield turn


def _name(part: Arg) -> str:
    assert isinstance(part, Ref), "only values are late or of an item"
    return f"%{part.name}"
