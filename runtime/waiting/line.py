"""The waiting requests of one op, in the order of a policy: O(log n) a request."""

from collections import Counter
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

from backends.policy.base import Policy, Ticket
from runtime.waiting.flow import Flow, Unit
from runtime.waiting.ranking import Ranking

T = TypeVar("T", bound=Ticket)

MAX_PASSED = 256  # requests too large for the room that is left, before a batch goes as it is


class Line(Generic[T]):
    """Flows in the order of their oldest request. A batch takes requests out and gives back what
    did not fit."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._flows: dict[Hashable, Flow[T]] = {}
        self._by_age: Ranking[Flow[T]] = Ranking()
        self._sizes: Counter[int] = Counter()  # items of a request -> requests that have so many

    def __bool__(self) -> bool:
        return bool(self._flows)

    @property
    def first_flow(self) -> Flow[T]:
        """The one whose oldest request waits longest."""
        return self._by_age.first()

    def has(self, flow: Hashable) -> bool:
        return flow in self._flows

    def rank(self, flow: Hashable) -> Any:
        """The rank of the flow's most urgent request."""
        return self._flows[flow].rank

    def put(self, ticket: T) -> None:
        self._sizes[ticket.num_items] += 1
        flow = self._flow(ticket)
        flow.put(ticket)
        self._by_age.put_least(flow, ticket.order)

    def remove(self, ticket: T) -> None:
        """Take out a request that was put in."""
        self.left(ticket)
        flow = self._flow(ticket)
        flow.remove(ticket)
        self._by_age.remove(flow)
        self._keep(flow)

    def left(self, ticket: T) -> None:
        """The request waits here no more."""
        self._sizes[ticket.num_items] -= 1
        if not self._sizes[ticket.num_items]:
            del self._sizes[ticket.num_items]

    def fits_none(self, room: int) -> bool:
        """Whether everything that waits has more items."""
        return all(size > room for size in self._sizes)

    def take(self, max_items: int) -> list[T]:
        """The next batch; something must wait."""
        if max_items == 1:
            return [self._take_first()]
        batch = _Batch(self, max_items, self._policy.unit_batches * max_items)
        turns: list[Flow[T]] = []
        while self._by_age and not batch.is_full:
            turns.append(self._by_age.pop())
            turns[-1].take_turn(batch)
        while not batch.is_full and any(turns):
            for flow in filter(None, turns):
                if not batch.is_full:
                    flow.take_turn(batch)
        for ticket in batch.passed:
            self._flow(ticket).put(ticket)
        for flow in turns:
            self._keep(flow)
        return batch.chosen

    def _take_first(self) -> T:
        flow = self._by_age.first()
        ticket = flow.take_first()
        self.left(ticket)
        if flow:
            self._by_age.put(flow, flow.oldest)
        else:
            self._by_age.remove(flow)
            del self._flows[flow.key]
        return ticket

    def _flow(self, ticket: T) -> Flow[T]:
        key = self._policy.flow(ticket)
        return self._flows.get(key) or self._flows.setdefault(key, Flow(key, self._policy))

    def _keep(self, flow: Flow[T]) -> None:
        if flow:
            self._by_age.put(flow, flow.oldest)
        else:
            del self._flows[flow.key]


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
