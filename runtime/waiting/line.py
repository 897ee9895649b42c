"""The waiting requests of one op, in the order of a policy: O(log n) a request."""

from collections import Counter
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

from backends.policy.base import Account, Policy, Ticket
from backends.policy.ranking import Ranking
from runtime.waiting.flow import Flow, Unit

T = TypeVar("T", bound=Ticket)

MAX_PASSED = 256  # requests too large for the room that is left, before a batch goes as it is


class Line(Generic[T]):
    """Flows in the order of their turns. A batch takes requests out and gives back what did not
    fit."""

    def __init__(self, policy: Policy, account: Account | None = None) -> None:
        self._policy = policy
        self._account = account
        self._flows: dict[Hashable, Flow[T]] = {}
        self._turns: Ranking[Flow[T]] = Ranking()  # of all but those that changed
        self._changed: dict[Flow[T], None] = {}  # since their turns were asked for last
        self._sizes: Counter[int] = Counter()  # items of a request -> requests that have so many

    def __bool__(self) -> bool:
        return bool(self._flows)

    @property
    def first_flow(self) -> Flow[T]:
        """The one whose turn it is."""
        return self._by_turn().first()

    def has(self, flow: Hashable) -> bool:
        return flow in self._flows

    def rank(self, flow: Hashable) -> Any:
        """The rank of the flow's most urgent request."""
        return self._flows[flow].rank

    def put(self, ticket: T) -> None:
        self._sizes[ticket.num_items] += 1
        flow = self._flow(ticket)
        flow.put(ticket)
        self._changed[flow] = None

    def remove(self, ticket: T) -> None:
        """Take out a request that was put in."""
        self.left(ticket)
        self._take_from_flow(ticket)

    def _take_out(self, ticket: T) -> T:
        self.remove(ticket)
        return ticket

    def _take_from_flow(self, ticket: T) -> None:
        flow = self._flow(ticket)
        flow.remove(ticket)
        self._keep(flow)

    def reorder(self, flow: Hashable) -> None:
        """The account of the flow changed."""
        if flow in self._flows:
            self._changed[self._flows[flow]] = None

    def left(self, ticket: T) -> None:
        """The request waits here no more."""
        self._sizes[ticket.num_items] -= 1
        if not self._sizes[ticket.num_items]:
            del self._sizes[ticket.num_items]

    def fits_none(self, room: int) -> bool:
        """Whether everything that waits has more items."""
        return all(size > room for size in self._sizes)

    def take(self, max_items: int, overdue: T | None = None) -> list[T]:
        """The next batch, which begins with the `overdue` request; something must wait."""
        if max_items == 1:
            return [self._take_first() if overdue is None else self._take_out(overdue)]
        batch = _Batch(self, max_items, self._policy.unit_batches * max_items)
        if overdue is not None:
            self._take_from_flow(overdue)
            batch.offer(overdue)
        turns: list[Flow[T]] = []
        by_turn = self._by_turn()
        while by_turn and not batch.is_full:
            turns.append(by_turn.pop())
            turns[-1].take_turn(batch)
            while self._policy.drains and turns[-1] and not batch.is_full:
                turns[-1].take_turn(batch)
        num_rounds = 1
        while not batch.is_full and any(turns) and num_rounds != self._policy.max_rounds:
            num_rounds += 1
            for flow in filter(None, turns):
                if not batch.is_full:
                    flow.take_turn(batch)
        for ticket in batch.passed:
            self._flow(ticket).put(ticket)
        for flow in turns:
            self._keep(flow)
        return batch.chosen

    def _take_first(self) -> T:
        if len(self._flows) == 1:  # no turns to compare
            (flow,) = self._flows.values()
        else:
            flow = self._by_turn().first()
        ticket = flow.take_first()
        self.left(ticket)
        self._keep(flow)
        return ticket

    def _by_turn(self) -> Ranking[Flow[T]]:
        for flow in self._changed:
            self._turns.put(flow, flow.turn)
        self._changed.clear()
        return self._turns

    def _flow(self, ticket: T) -> Flow[T]:
        key = self._policy.flow(ticket)
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = Flow(key, self._policy, self._account)
        return flow

    def _keep(self, flow: Flow[T]) -> None:
        if flow:
            self._changed[flow] = None
            return
        del self._flows[flow.key]
        self._changed.pop(flow, None)
        if flow in self._turns:
            self._turns.remove(flow)


class _Batch(Generic[T]):
    """The longest head of the requests offered that fits; the first always fits."""

    def __init__(self, line: Line[T], max_items: int, max_unit_items: int) -> None:
        self.chosen: list[T] = []
        self.passed: list[T] = []
        self.is_full = False
        self._line = line
        self._room = max_items
        self._max_unit_items = max_unit_items
        self._is_whole: dict[Unit[T], bool] = {}  # as it was when first asked

    def goes_whole(self, unit: Unit[T]) -> bool:
        return self._is_whole.setdefault(unit, unit.num_items <= self._max_unit_items)

    def offer(self, ticket: T) -> None:
        if self.chosen and ticket.num_items > self._room:
            self.passed.append(ticket)
            self.is_full = len(self.passed) == MAX_PASSED or self._line.fits_none(self._room)
        else:
            self.chosen.append(ticket)
            self._line.left(ticket)
            self._room -= ticket.num_items
            self.is_full = self._room < 1
