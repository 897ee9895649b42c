"""Have a server compute the head of a prompt before the requests that begin with it, where it pays.

Engines with the capability `warm_up` keep contexts with the client and send the whole prompt with
each decode. A prefill then runs ahead, as a request of its own that fills the server's prefix
cache, or it is written into what reads its context. It pays to run ahead if the head is long and

- its readers wait for other engine work meanwhile, or
- several requests that start at the same time begin with it, on a server that would compute it for
  each of them (one without `shares_in_flight`).

Texts that are not known before the run may be long: the runtime looks (`runtime/warm_ups.py`).

    %c1 = prefill %c0 @system "..." [engine="m"]
    %d = search null %q null [engine="s"]
    %c2 = prefill %c1 @user %d %q @assistant [engine="m"]
    %t, %c3 = decode %c2 [engine="m"]
    ->
    %c1 = prefill %c0 @system "..." [ahead=true, engine="m"]
    %d = search null %q null [engine="s"]
    %t, %c3 = decode %c1 @user %d %q @assistant [engine="m"]
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from graph_opt.analysis.context_reads import (
    Prefill,
    Reading,
    ask_about_prefills,
    is_scored_within,
)
from graph_opt.cost_model import CostModel
from graph_opt.facts import NO_FACTS, Facts
from graph_opt.graph import Arg, Graph, Node, Ref
from graph_opt.passes.deduplicate import deduplicate
from graph_opt.paths import bodies_of
from graph_opt.prompts import Given, Prompt, write_captures
from graph_opt.rewrite import rewrite
from graph_opt.tokens import num_tokens

MIN_WARM_TOKENS = 64  # a request costs a server as much as it saves by fewer


def warm_up(graph: Graph, facts: Facts = NO_FACTS, min_head_tokens: int = MIN_WARM_TOKENS) -> Graph:
    """The graph whose prefills on such engines run ahead or are written into their readers."""
    if not any("warm_up" in able for able in facts.capabilities.values()):
        return graph
    deciding = _Deciding(facts, min_head_tokens)
    written = _Writing(graph, deciding, deciding.ahead(graph), "", {}).result()
    return written if written is graph else deduplicate(written)  # equal prompts are equal texts


@dataclass(frozen=True, slots=True)
class _Deciding:
    """Which prefills pay as requests of their own."""

    facts: Facts
    min_head_tokens: int

    def is_client_side(self, node: Node) -> bool:
        able = self.facts.has(node, "warm_up") and self.facts.has(node, "decode_parts")
        return able and node.op in ("prefill", "decode")

    def ahead(self, graph: Graph) -> set[str]:
        """The paths of those that pay, also behind the others that do."""
        paying: set[str] = set()

        def is_request(prefill: Prefill, readings: Sequence[Reading]) -> bool:
            if "ahead" in prefill.node.attrs or self.pays(prefill, readings):
                paying.add(prefill.path)
            return prefill.path in paying

        cost = self.facts.cost
        prefills = ask_about_prefills(graph, cost, self.is_client_side, is_request)
        for path, prefill in prefills.items():  # in program order
            own = _parts_behind(prefill, paying)
            if not ("ahead" in prefill.node.attrs or self.is_long(prefill.node, own)):
                paying.discard(path)
        return paying

    def pays(self, prefill: Prefill, readings: Sequence[Reading]) -> bool:
        if "fusion" in prefill.node.attrs:  # a server would read its chunks twice
            return False
        if not readings or not self.is_long(prefill.node, prefill.parts):
            return False
        first_s = min(reading.start_s for reading in readings)
        waits_s = first_s - prefill.start_s
        cost = self.facts.cost_of(prefill.node)
        if cost is None:
            return waits_s > 0 or self.num_together(prefill, readings, first_s) > 1
        call_s, head_s = _seconds(prefill, cost, "."), _seconds(prefill, cost, *prefill.parts)
        others = self.num_together(prefill, readings, first_s + head_s) - 1
        if not _is_known(prefill.parts):  # how long it is, the runtime sees
            return waits_s > call_s or others > 0
        return others * (head_s - call_s) + min(waits_s, head_s - call_s) > call_s

    def num_together(self, prefill: Prefill, readings: Sequence[Reading], until_s: float) -> float:
        """The requests that would each compute the head; 1 where they share what runs."""
        if self.facts.has(prefill.node, "shares_in_flight"):
            return 1.0
        return sum(reading.num_requests for reading in readings if reading.start_s <= until_s)

    def is_long(self, node: Node, parts: Sequence[Arg]) -> bool:
        if not parts:
            return False
        by_seconds = self.facts.cost_of(node) is not None
        return by_seconds or not _is_known(parts) or num_tokens(parts) >= self.min_head_tokens


def _is_known(parts: Sequence[Arg]) -> bool:
    return not any(isinstance(part, Ref) for part in parts)


def _seconds(prefill: Prefill, cost: CostModel, *parts: Arg) -> float:
    first = prefill
    while first.behind is not None:
        first = first.behind
    attrs = {**prefill.node.attrs, "ahead": True}
    return cost.seconds(replace(prefill.node, args=(first.node.args[0], *parts), attrs=attrs))


def _parts_behind(prefill: Prefill, ahead: Collection[str]) -> Sequence[Arg]:
    """The parts behind the last prefill before this one that runs ahead."""
    before = prefill.behind
    while before is not None and before.path not in ahead:
        before = before.behind
    return prefill.parts[len(before.parts) if before is not None else 0 :]


class _Writing:
    """One walk over a graph or a body: the prompts so far of contexts that are written out."""

    def __init__(
        self,
        graph: Graph,
        deciding: _Deciding,
        ahead: Collection[str],
        path: str,
        given: Mapping[str, Given],
    ) -> None:
        self.graph, self.deciding, self.ahead = graph, deciding, ahead
        self.path, self.given = path, given
        self.prompts: dict[str, Prompt] = {}

    def result(self) -> Graph:
        return rewrite(self.graph, lambda node, _: self.write(node), recurse=False)

    def write(self, node: Node) -> list[Node] | None:
        if node.bodies:
            return self.write_bodies(node)
        if node.op == "input" and node.name in self.given:
            self.prompts[node.name] = self.given[node.name].prompt
            return list(self.given[node.name].params)
        if not self.deciding.is_client_side(node):
            return None
        prompt = self.prompts.get(node.inputs[0], Prompt(node.inputs[0]))
        prompt = prompt.add_node(node)
        is_ahead = self.path + node.name in self.ahead
        if node.op == "prefill" and not is_ahead and self.may_vanish(node):
            self.prompts[node.name] = prompt
            return []
        attrs = {**prompt.attrs, **node.attrs, **({"ahead": True} if is_ahead else {})}
        written = replace(node, args=prompt.args, attrs=attrs, after=prompt.after)
        return None if written == node else [written]

    def write_bodies(self, node: Node) -> list[Node] | None:
        inner = [path for path, _ in bodies_of(node, self.path)]

        def write(number: int, body: Graph, given: Mapping[str, Given]) -> Graph:
            return _Writing(body, self.deciding, self.ahead, inner[number], given).result()

        written = write_captures(node, self.prompts, write)
        return None if written == node else [written]

    def may_vanish(self, node: Node) -> bool:
        """Whether nobody outside gets its context, and all that read it take its parts and name
        its adapter; a select takes none. Chunks are named in a prefill alone."""
        if node.name in self.graph.outputs or "fusion" in node.attrs:
            return False
        adapter = node.attrs.get("adapter")
        for reader in self.graph.consumers(node.name):
            if reader.bodies:
                if is_scored_within(reader, node.name):
                    return False
            elif reader.op == "select" or reader.attrs.get("adapter") != adapter:
                return False
        return True
