"""Which prompts are computed ahead with the documents that a search gave, while these are reranked.

RAGCache (arXiv 2404.12457) starts a prompt with the documents that a search has found so far. Here
the order of the search is the guess, and that of the reranker the truth. What a prompt begins with
as it was guessed is found in the prefix cache; the rest was computed for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

from graph_opt.analysis.readiness import readiness
from graph_opt.cost_model import CostModel
from graph_opt.facts import Facts
from graph_opt.graph import CHUNKS, Arg, Graph, Node, Origin, Ref
from graph_opt.paths import walk
from graph_opt.prompts import part_start


@dataclass(frozen=True, slots=True)
class Guess:
    """A prompt with reranked documents in it, as it can be guessed before they are."""

    node: Node
    at: int  # the arg that is their joined text
    end: int  # the first arg that is too late for the guess
    join: Node
    slices: Sequence[Node]  # from the reranked documents to those that are joined
    rerank: Node
    hits: str  # the value that is reranked


@dataclass(frozen=True, slots=True)
class AheadChoice:
    """Of one prompt that can be guessed."""

    node: str  # its path
    origin: Origin | None
    is_made: bool  # else the reason says why not
    reason: str


def ahead_choices(graph: Graph, facts: Facts) -> list[AheadChoice]:
    """Those that are made, and where the app asks for all of them those that are not."""
    found = []
    for path, node, inner in walk(graph):
        guess = guess_of(node, inner)
        if guess is not None and facts.prefill_ahead is not False:
            is_made, reason = pays(guess, facts)
            found.append(AheadChoice(path, node.origin, is_made, reason))
    return [choice for choice in found if choice.is_made or facts.prefill_ahead]


def guess_of(node: Node, graph: Graph) -> Guess | None:
    """The guess of a prompt in this graph; None where there is nothing to guess."""
    is_prompt = node.op in ("prefill", "decode") and "ahead_of" not in node.attrs
    if not is_prompt or CHUNKS in node.args or _has_one(node, graph):
        return None
    for at, arg in enumerate(node.args[1:], 1):
        if not isinstance(arg, Ref) or (join := graph.producer(arg.name)).op != "join":
            continue
        found = _reranked(join, graph)
        if found is not None:
            slices, rerank = found
            return _in_time(node, at, join, slices, rerank, graph)
    return None


def pays(guess: Guess, facts: Facts) -> tuple[bool, str]:
    """Whether the guess is to be computed, and why."""
    node, rerank = guess.node, guess.rerank
    if not facts.can(node, "prefill") or not facts.can(node, "cached_tokens"):
        return False, f"the engine {node.attrs['engine']!r} does not say what it found computed"
    if facts.prefill_ahead:
        return True, "asked for"
    llm, reranker = (facts.devices.get(str(each.attrs["engine"])) for each in (node, rerank))
    cost, other = facts.cost_of(node), facts.cost_of(rerank)
    if facts.has(node, "warm_up") or llm is None or llm == reranker or not cost or not other:
        return False, "not known to pay"
    return _is_slow(guess, cost, other), "its device waits for the reranker"


def _is_slow(guess: Guess, cost: CostModel, other: CostModel) -> bool:
    """Whether the reranker takes longer than a call of the LLM."""
    node = guess.node
    call = Node(("call",), "prefill", (node.args[0], "."), {"engine": node.attrs["engine"]})
    return other.seconds(guess.rerank) > cost.seconds(call)


def _has_one(node: Node, graph: Graph) -> bool:
    return any(other.attrs.get("ahead_of") == node.name for other in graph.nodes)


def _reranked(join: Node, graph: Graph) -> tuple[Sequence[Node], Node] | None:
    """The slices between a join and the reranker of its documents, first to last, and that."""
    if _names_score(str(join.attrs.get("template", ""))) or join.attrs.get("chunks"):
        return None
    slices: list[Node] = []
    node = join
    while isinstance(items := node.args[0], Ref):
        node = graph.producer(items.name)
        if node.op == "rerank":
            return slices[::-1], node
        if node.op != "apply" or node.attrs["fn"] != "slice":
            break
        slices.append(node)
    return None


def _names_score(template: str) -> bool:
    """A reranker changes it, so no guess would come true."""
    fields = (field or "" for _, field, _, _ in Formatter().parse(template))
    return any(field.startswith("score") for field in fields)


def _in_time(
    node: Node, at: int, join: Node, slices: Sequence[Node], rerank: Node, graph: Graph
) -> Guess | None:
    hits, ranks, late = rerank.args[1], readiness(graph), set(_behind(rerank, graph))

    def is_early(arg: Arg) -> bool:
        if not isinstance(arg, Ref):
            return True
        maker = graph.producer(arg.name).name
        return maker not in late and ranks[maker] <= ranks[rerank.name]

    if not isinstance(hits, Ref) or not all(map(is_early, node.args[:at])):
        return None
    last = next((i for i in range(at + 1, len(node.args)) if not is_early(node.args[i])), None)
    end = len(node.args) if last is None else part_start(node.args, last)
    return Guess(node, at, end, join, slices, rerank, hits.name)


def _behind(first: Node, graph: Graph) -> Iterator[str]:
    """The node and all that wait for it."""
    found: Mapping[str, None] = {first.name: None}
    for node in graph.nodes:
        if any(parent.name in found for parent in graph.parents(node)):
            found = {**found, node.name: None}
    yield from found
