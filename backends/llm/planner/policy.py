"""The interface of batch policies: their inputs and their hooks."""

from collections.abc import Callable, Iterable
from collections.abc import Sequence as Items
from dataclasses import dataclass, field

from backends.llm.kv.cache import KVCache
from backends.llm.planner.latency import LatencyModel
from backends.llm.sequence.sequence import Sequence


@dataclass(slots=True)
class Changes:
    """What came, ended and ran since the step before was planned, for orders that keep up."""

    step: int = 0  # the number of the step that is planned
    joined: dict[Sequence, None] = field(default_factory=dict)
    left: list[Sequence] = field(default_factory=list)
    ran: dict[Sequence, None] = field(default_factory=dict)  # or has only begun

    def join(self, sequence: Sequence) -> None:
        self.joined[sequence] = None

    def run(self, sequence: Sequence) -> None:
        self.ran[sequence] = None

    def leave(self, sequence: Sequence) -> None:
        self.ran.pop(sequence, None)
        if sequence in self.joined:
            del self.joined[sequence]
        else:
            self.left.append(sequence)


@dataclass(frozen=True, slots=True)
class View:
    """The engine as policies may read it; they change nothing."""

    cache: KVCache
    latency: LatencyModel
    num_running: int  # sequences that hold pages
    max_running: int  # most sequences in a step
    token_budget: int  # the engine's option
    changes: Changes | None = None  # None: not known

    @property
    def has_free_slot(self) -> bool:
        return self.num_running < self.max_running

    def pages_for(self, num_tokens: int) -> int:
        return self.cache.pool.pages_for(num_tokens)

    def known_pages(self, sequence: Sequence) -> list[int]:
        """Pages with a head of a waiting sequence's tokens: its parent's or the tree's."""
        table = sequence.parent.table if sequence.parent is not None else sequence.table
        head = table.pages[: self.pages_for(table.num_computed)]
        found = self.cache.peek(sequence.ids[: sequence.num_cacheable], table)
        return found if len(found) > len(head) else head

    def held_pages(self, sequence: Sequence) -> list[int]:
        """Pages held while the sequence runs: its KV and its adapter's weights."""
        weights = sequence.adapter.table.pages if sequence.adapter is not None else []
        return sequence.table.pages + weights

    def wanted_pages(self, sequence: Sequence) -> tuple[list[int], int]:
        """What a waiting sequence would hold: pages that are there already, and how many new."""
        known = self.known_pages(sequence)
        num_new = self.pages_for(len(sequence.ids)) - len(known)
        if sequence.adapter is None:
            return known, num_new
        weights = sequence.adapter.table.pages
        return known + weights, num_new + sequence.adapter.num_pages - len(weights)


# (sequences, view, now) -> answer; sequences are those that run, then those that wait, each part
# in order of arrival, or where it says so in the order that `order` gave them.
Order = Callable[[Items[Sequence], View, float], Items[Sequence]]  # all, the first served first
Admit = Callable[[Items[Sequence], View, float], Iterable[Sequence]]  # in order -> participants
Budget = Callable[[Items[Sequence], View, float], int]  # in order -> tokens of the step
Victims = Callable[[Items[Sequence], View, float], Items[Sequence]]  # in order -> first to go first


@dataclass(frozen=True, slots=True)
class Policy:
    """Four independent choices.

    `admit` is read lazily while the planner walks: it may yield all that fit, the planner
    stops when slots or tokens run out. It must yield the first in line. `victims` are
    those of the running that come after the one that needs pages."""

    order: Order
    admit: Admit
    budget: Budget
    victims: Victims
