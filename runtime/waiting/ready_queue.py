"""What waits at an engine. A policy says in which order it goes; forming a batch never sorts."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from backends.policy.base import Policy, Ticket
from backends.policy.fcfs import fcfs
from runtime.waiting.line import Line
from runtime.waiting.ranking import Ranking

T = TypeVar("T", bound=Ticket)


class ReadyQueue(Generic[T]):
    """Gives the next batch in O(log n) for each of its requests.

    A request that the policy holds until later goes by arrival, and only while no other waits.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._count = 0
        self._lone: T | None = None  # all that waits, as it is most often
        self._lines: dict[str, Line[T]] = {}  # by op
        self._held_lines: dict[str, Line[T]] = {}
        self._held: Ranking[T] = Ranking()

    def __len__(self) -> int:
        return self._count

    def put(self, ticket: T) -> None:
        self._count += 1
        if self._count == 1:
            self._lone = ticket
            return
        if self._lone is not None:
            self._put(self._lone)
            self._lone = None
        self._put(ticket)

    def remove(self, ticket: T) -> None:
        """Take out a request that was put in."""
        self._count -= 1
        if ticket is self._lone:
            self._lone = None
        elif ticket in self._held:
            self._held.remove(ticket)
            self._held_lines[ticket.op].remove(ticket)
        else:
            self._lines[ticket.op].remove(ticket)

    def take(self, max_items: int, now_s: float) -> Sequence[T]:
        """The next batch; something must wait. What is left behind does not fit it."""
        if self._lone is not None:
            ticket, self._lone, self._count = self._lone, None, 0
            return (ticket,)
        if self._held:
            self._release_due(now_s)
        lines = [line for line in self._lines.values() if line]
        if lines:
            batch = _first(lines).take(max_items)
        else:
            batch = _first([line for line in self._held_lines.values() if line]).take(max_items)
            for ticket in batch:
                self._held.remove(ticket)
        self._count -= len(batch)
        return batch

    def _put(self, ticket: T) -> None:
        until_s = self.policy.held_until_s(ticket)
        if until_s <= ticket.arrival_s:
            self._line(ticket.op).put(ticket)
        else:
            self._held.put(ticket, (until_s, ticket.order))
            if ticket.op not in self._held_lines:
                self._held_lines[ticket.op] = Line(fcfs)
            self._held_lines[ticket.op].put(ticket)

    def _release_due(self, now_s: float) -> None:
        while self._held and self._held.first_key()[0] <= now_s:
            ticket = self._held.pop()
            self._held_lines[ticket.op].remove(ticket)
            self._line(ticket.op).put(ticket)

    def _line(self, op: str) -> Line[T]:
        if op not in self._lines:
            self._lines[op] = Line(self.policy)
        return self._lines[op]


def _first(lines: Sequence[Line[T]]) -> Line[T]:
    """The line whose turn it is: of the flow that waits longest, that of the least rank."""
    if len(lines) == 1:
        return lines[0]
    flow = min((line.first_flow for line in lines), key=lambda flow: flow.oldest).key
    return min((line for line in lines if line.has(flow)), key=lambda line: line.rank(flow))
