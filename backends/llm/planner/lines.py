"""All sequences of an engine in the order of a policy, kept from step to step.

    priority   1   | real requests, by the policy |  guesses, by the policy |
               0   | ...

A line is placed when its sequence comes. What is left of its query (`Left`) says when it changes;
then its flow is placed anew, or it is moved, where it was a guess and is asked for now.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from collections.abc import Sequence as Items
from typing import TypeAlias

from backends.llm.sequence.sequence import Sequence
from backends.place import Left, Place
from backends.policy.base import Policy, Service, Ticket
from backends.policy.ordered import Ordered

Rank: TypeAlias = tuple[int, bool]  # -priority, whether it is a guess


class Line(Ticket):
    """A sequence as the policy sees it."""

    __slots__ = ("given", "has_begun", "is_known", "rank", "sequence")

    def __init__(self, sequence: Sequence, place: Place, *, is_known: bool) -> None:
        """`is_known`: the place is of a query, and not made up."""
        arrived_s = sequence.service.arrived_s
        super().__init__(sequence.arrival, arrived_s, place, sequence.request.op, 1)
        self.sequence = sequence
        self.is_known = is_known
        self.has_begun = False
        self.given = Service()
        self.rank: Rank = (-sequence.request.priority, is_guess(sequence))

    def newly_given(self) -> Service:
        """What it was given since it was last asked."""
        usage, last = self.sequence.usage, self.given
        now = Service(self.sequence.service.served_s, usage.prefill_tokens, usage.decode_tokens)
        self.given = now
        return Service(
            max(0.0, now.seconds - last.seconds),  # it counts from 0 again after a long wait
            now.prefill_tokens - last.prefill_tokens,
            now.decode_tokens - last.decode_tokens,
        )


class Lines:
    """Each change costs O(log n)."""

    def __init__(self, policy: Policy, value: Callable[[Hashable], float]) -> None:
        """`value` is what the policy's account says of a flow."""
        self._policy = policy
        self._lines: dict[Sequence, Line] = {}
        self._ordered: defaultdict[Rank, Ordered[Line]] = defaultdict(
            lambda: Ordered(policy, value)
        )
        self._of_left: dict[Left, dict[Line, None]] = {}
        self._changed: set[Left] = set()  # other threads put in what changed
        self.num_known = 0  # those of a query
        self.num_of_clients = 0

    def __contains__(self, sequence: Sequence) -> bool:
        return sequence in self._lines

    def __getitem__(self, sequence: Sequence) -> Line:
        return self._lines[sequence]

    @property
    def has_guesses(self) -> bool:
        return any(is_guess and len(ordered) for (_, is_guess), ordered in self._ordered.items())

    def add(self, line: Line) -> None:
        """Put a line in its place."""
        self._lines[line.sequence] = line
        self.num_known += line.is_known
        self.num_of_clients += bool(client_of(line.sequence))
        left = _left_of(line)
        if left is not None:
            if left not in self._of_left:
                self._of_left[left] = {}
                left.tell(self._changed)
                line.rank = line.rank[0], left.is_guess  # it may have changed before
            self._of_left[left][line] = None
        self._ordered[line.rank].add(line)

    def remove(self, sequence: Sequence) -> Line:
        """Take the line of a sequence out."""
        line = self._lines.pop(sequence)
        self.num_known -= line.is_known
        self.num_of_clients -= bool(client_of(sequence))
        self._take_out(line)
        left = _left_of(line)
        if left is not None:
            del self._of_left[left][line]
            if not self._of_left[left]:
                del self._of_left[left]
                left.tell_no_more(self._changed)
        return line

    def besides(self, sequences: Items[Sequence]) -> list[Sequence]:
        """Those here that are not among these."""
        present = set(sequences)
        return [sequence for sequence in self._lines if sequence not in present]

    def note_changes(self) -> None:
        """Place anew what has changed."""
        while self._changed:
            left = self._changed.pop()
            lines = self._of_left.get(left, {})
            first = next(iter(lines), None)
            if first is None:
                continue
            if first.rank[1] != left.is_guess:
                self._move(lines, is_guess=left.is_guess)
            self.reorder(self._policy.flow(first))

    def reorder(self, flow: Hashable) -> None:
        """The turn of a flow may have changed."""
        for ordered in self._ordered.values():
            ordered.reorder(flow)

    def know(self, sequence: Sequence, num_known: int) -> None:
        """So many tokens of its prompt have their KV."""
        line = self._lines.get(sequence)
        if line is not None and line.num_known != num_known:
            self._take_out(line)
            line.num_known = num_known
            self._ordered[line.rank].add(line)

    def head(self, running: Items[Sequence], num_waiting: int) -> Iterator[Line]:
        """Those that run, and of the others the first so many, in order."""
        for rank in sorted(self._ordered):
            ordered = self._ordered[rank]
            behind = {self._lines[s]: None for s in running if self._lines[s].rank == rank}
            for line in ordered if num_waiting else ():
                yield line
                if line in behind:
                    del behind[line]
                else:
                    num_waiting -= 1
                    if not num_waiting:
                        break
            yield from sorted(behind, key=ordered.position)

    def _take_out(self, line: Line) -> None:
        """Clients choose priorities as they like: of none that is gone anything stays."""
        self._ordered[line.rank].remove(line)
        if not len(self._ordered[line.rank]):
            del self._ordered[line.rank]

    def _move(self, lines: dict[Line, None], *, is_guess: bool) -> None:
        for line in lines:
            self._take_out(line)
            line.rank = line.rank[0], is_guess
            self._ordered[line.rank].add(line)


def is_guess(sequence: Sequence) -> bool:
    """Whether it runs ahead of what may never ask for it."""
    place = sequence.request.place
    return place is not None and place.is_guess


def client_of(sequence: Sequence) -> str:
    """The client of a server whose word its place is; empty where it is believed."""
    place = sequence.request.place
    return "" if place is None else place.client


def _left_of(line: Line) -> Left | None:
    place = line.sequence.request.place
    return None if place is None else place.left
