"""What waits at an engine. A policy says in which order it goes; forming a batch never sorts."""

from collections.abc import Sequence
from math import inf
from typing import Generic, TypeVar

from backends.policy.base import Policy, Service, Ticket
from backends.policy.fcfs import fcfs
from backends.policy.ranking import Ranking
from runtime.waiting.line import Line

T = TypeVar("T", bound=Ticket)

OVERDUE_EACH = 8  # one of so many batches begins with the oldest request, if that is overdue


class ReadyQueue(Generic[T]):
    """Gives the next batch in O(log n) for each of its requests.

    A request that the policy holds until later goes by arrival, and only while no other waits. So
    does, by any policy, one that runs ahead of what may never ask for it.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._account = None if policy.account is None else policy.account()
        self.has_account = self._account is not None  # else `serve` makes no difference
        self._count = 0
        self._lone: T | None = None  # all that waits, as it is most often
        self._lines: dict[str, Line[T]] = {}  # by op
        self._held_lines: dict[str, Line[T]] = {}
        self._held: Ranking[T] = Ranking()
        self._arrivals: Ranking[T] = Ranking()  # where the policy has patience
        self._num_taken = 0

    def __len__(self) -> int:
        return self._count

    def put(self, ticket: T, now_s: float | None = None) -> None:
        """Add a request; `now_s` where it arrived earlier and waits again."""
        self._count += 1
        if self._account is not None:
            at_s = ticket.arrival_s if now_s is None else now_s
            self._account.arrived(self.policy.flow(ticket), ticket, at_s)
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
            if self.policy.patience_s is not None:
                self._arrivals.remove(ticket)
        if self._account is not None:
            self._tell_left([ticket])

    def take(self, max_items: int, now_s: float) -> Sequence[T]:
        """The next batch; something must wait. What is left behind does not fit it."""
        batch = self._take(max_items, now_s)
        self._count -= len(batch)
        if self._account is not None:
            self._tell_left(batch)
        return batch

    def serve(self, ticket: T, service: Service) -> None:
        """A request that was taken was given so much more."""
        if self._account is None:
            return
        flow = self.policy.flow(ticket)
        self._account.serve(flow, ticket, service)
        for line in self._lines.values():
            line.reorder(flow)

    def _take(self, max_items: int, now_s: float) -> Sequence[T]:
        if self._lone is not None:
            ticket, self._lone = self._lone, None
            return (ticket,)
        if self._held:
            self._release_due(now_s)
        lines = [line for line in self._lines.values() if line]
        if not lines:
            batch = _first([line for line in self._held_lines.values() if line]).take(max_items)
            for ticket in batch:
                self._held.remove(ticket)
            return batch
        patience_s = self.policy.patience_s
        if patience_s is None:
            return _first(lines).take(max_items)
        overdue = self._overdue(now_s, patience_s)
        line = _first(lines) if overdue is None else self._lines[overdue.op]
        batch = line.take(max_items, overdue)
        for ticket in batch:
            self._arrivals.remove(ticket)
        return batch

    def _overdue(self, now_s: float, patience_s: float) -> T | None:
        """The oldest request, if this turn is its: else old ones alone would go under overload."""
        self._num_taken += 1
        oldest = self._arrivals.first()
        is_overdue = now_s - oldest.arrival_s >= patience_s
        return oldest if is_overdue and not self._num_taken % OVERDUE_EACH else None

    def _tell_left(self, tickets: Sequence[T]) -> None:
        assert self._account is not None, "there is one to be told"
        for ticket in tickets:
            self._account.left(self.policy.flow(ticket), ticket)

    def _put(self, ticket: T) -> None:
        until_s = inf if ticket.place.is_guess else self.policy.held_until_s(ticket)
        if until_s <= ticket.arrival_s:
            self._put_in_line(ticket)
        else:
            self._held.put(ticket, (until_s, ticket.order))
            if ticket.op not in self._held_lines:
                self._held_lines[ticket.op] = Line(fcfs)
            self._held_lines[ticket.op].put(ticket)

    def _release_due(self, now_s: float) -> None:
        while self._held and self._held.first_key()[0] <= now_s:
            ticket = self._held.pop()
            self._held_lines[ticket.op].remove(ticket)
            self._put_in_line(ticket)

    def _put_in_line(self, ticket: T) -> None:
        if self.policy.patience_s is not None:
            self._arrivals.put(ticket, ticket.order)
        if ticket.op not in self._lines:
            self._lines[ticket.op] = Line(self.policy, self._account)
        self._lines[ticket.op].put(ticket)


def _first(lines: Sequence[Line[T]]) -> Line[T]:
    """The line whose turn it is: of the flow whose turn comes first, that of the least rank."""
    if len(lines) == 1:
        return lines[0]
    flow = min((line.first_flow for line in lines), key=lambda flow: flow.turn).key
    return min((line for line in lines if line.has(flow)), key=lambda line: line.rank(flow))
