"""A queue whose policy may raise, as one of a user's own may: no request is lost by that."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from backends.errors import PolicyFailed
from backends.policy.base import Policy, Service, Ticket
from backends.policy.fcfs import fcfs
from backends.policy.named import POLICIES
from runtime.waiting.ready_queue import ReadyQueue

T = TypeVar("T", bound=Ticket)

Refuse = Callable[[T, PolicyFailed], None]


def queue_under(policy: Policy, name: str, refuse: Refuse[T]) -> ReadyQueue[T]:
    """A queue of the engine of that name; `refuse` is told which request fails with the policy."""
    if POLICIES.get(policy.name) is policy:
        return ReadyQueue(policy)
    return CheckedQueue(policy, name, refuse)


class CheckedQueue(ReadyQueue[T]):
    """Once the policy raised, all that waits goes by arrival, and the queue has the policy `fcfs`.

    The request at which it raised is refused: the one that comes, else the oldest. A half-done
    change of the heaps does not matter, since what waits is kept beside them."""

    def __init__(self, policy: Policy, name: str, refuse: Refuse[T]) -> None:
        super().__init__(policy)
        self._name = name
        self._refuse = refuse
        self._tickets: dict[T, float | None] = {}  # all that wait, with the time they were put at

    def put(self, ticket: T, now_s: float | None = None) -> None:
        self._tickets[ticket] = now_s
        policy = self.policy
        try:
            # also of a lone request, which needs no order
            policy.flow(ticket), policy.unit(ticket), policy.rank(ticket)
            super().put(ticket, now_s)
        except Exception as error:
            self._fall_back(error, ticket)

    def remove(self, ticket: T) -> None:
        del self._tickets[ticket]
        try:
            super().remove(ticket)
        except Exception as error:
            self._fall_back(error)

    def take(self, max_items: int, now_s: float) -> Sequence[T]:
        try:
            batch = super().take(max_items, now_s)
        except Exception as error:
            self._fall_back(error, min(self._tickets, key=lambda ticket: ticket.order))
            batch = super().take(max_items, now_s) if self._tickets else ()
        for ticket in batch:
            del self._tickets[ticket]
        return batch

    def serve(self, ticket: T, service: Service) -> None:
        try:
            super().serve(ticket, service)
        except Exception as error:
            self._fall_back(error)

    def _fall_back(self, error: Exception, culprit: T | None = None) -> None:
        failure = PolicyFailed(
            f"policy {self.policy.name!r} raised {type(error).__name__}: {error}; engine "
            f"{self._name!r} goes by arrival until a policy is set again"
        )
        failure.__cause__ = error
        super().__init__(fcfs)
        if culprit is not None:
            del self._tickets[culprit]
        for ticket, now_s in sorted(self._tickets.items(), key=lambda each: each[0].order):
            super().put(ticket, now_s)
        if culprit is not None:
            self._refuse(culprit, failure)
