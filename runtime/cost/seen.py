"""What the nodes of one plan turned out to be: tokens of prompts and texts, items, turns.

Before the first run a text counts as 64 tokens and a list as eight items (`sizes.py`), so apps that
differ tenfold look alike, and orders by the work that is left are no better than chance. All
queries of a plan note what they find here, and from time to time the plan's expectations are made
anew with it (`teola.plans`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from backends.base import Usage
from graph_opt.graph import Graph, Node
from graph_opt.paths import walk
from runtime.cost.latency import Load

WEIGHT = 0.2  # of the newest observation


@dataclass(slots=True)
class Seen:
    """Of one node: running means; 0 before the first."""

    computed_tokens: float = 0.0  # of its prompt, those found in a cache left out
    written_tokens: float = 0.0  # of each text
    turns: float = 0.0  # how often its body ran
    num_notes: int = 0
    among: SeenNodes | None = None  # the plan's

    def note(self, usage: Usage, num_texts: int = 1) -> None:
        """A request of the node ended."""
        if not usage.prefill_tokens + usage.cached_tokens + usage.decode_tokens:
            return  # it was remembered
        self.computed_tokens = self._mean(self.computed_tokens, usage.prefill_tokens)
        self.written_tokens = self._mean(self.written_tokens, usage.decode_tokens / num_texts)
        self._count()

    def note_turns(self, turns: int) -> None:
        """All its bodies ended."""
        self.turns = self._mean(self.turns, turns)
        self._count()

    def of(self, load: Load) -> Load:
        """The load as it turned out to be."""
        find = _FOUND.get(load.op)
        return load if find is None else find(self, load)

    def _count(self) -> None:
        self.num_notes += 1
        if self.among is not None:
            self.among.num_notes += 1

    def _mean(self, mean: float, value: float) -> float:
        return mean + WEIGHT * (value - mean) if self.num_notes else float(value)


def _computed(seen: Seen, load: Load) -> Load:
    return replace(load, size=max(1.0, seen.computed_tokens))


def _written(seen: Seen, load: Load) -> Load:
    return replace(load, times=max(1.0, seen.written_tokens or load.times))


_FOUND: Mapping[str, Callable[[Seen, Load], Load]] = {"prefill": _computed, "decode": _written}


@dataclass(slots=True)
class SeenNodes:
    """Of all nodes of a plan, by path (`graph_opt.paths`)."""

    nodes: dict[str, Seen] = field(default_factory=dict)
    num_notes: int = 0  # in all of them

    def at(self, path: str) -> Seen:
        """To be noted in."""
        found = self.nodes.get(path)
        if found is None:
            found = self.nodes[path] = Seen(among=self)
        return found

    def in_graph(self, graph: Graph) -> Mapping[int, Seen]:
        """By the id() of the graph's nodes: names are of one body, and cost models are asked for
        nodes alone."""
        return {
            id(node): seen
            for path, node, _ in walk(graph)
            if (seen := self.nodes.get(path)) is not None and seen.num_notes
        }


def num_texts(node: Node) -> int:
    """How many texts a request of the node asks for."""
    n = node.attrs.get("n")
    return n if isinstance(n, int) and n > 0 else 1
