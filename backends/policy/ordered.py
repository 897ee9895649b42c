"""All that waits or runs, kept in the order of a policy: a change costs O(log n), and the head of
the order is read without the rest.

It is the order of `in_order.py`. A ticket is placed when it is added. Of what a policy asks, only a
flow's `turn` may change while its tickets are here; whoever knows that it did calls `reorder`.
"""

from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic, TypeVar

from backends.policy.base import Policy, Ticket
from backends.policy.sorted_items import SortedItems

T = TypeVar("T", bound=Ticket)


class _Unit(Generic[T]):
    """Tickets that go together, by rank."""

    def __init__(self) -> None:
        self.members: SortedItems[T] = SortedItems()


class _Flow(Generic[T]):
    """What shares its turns: units by the ranks of their first tickets."""

    def __init__(self, key: Hashable, since: int, value: Callable[[Hashable], float]) -> None:
        self.key = key
        self.since = since  # the order of the oldest ticket that was here since the flow is
        self.units: SortedItems[_Unit[T]] = SortedItems()
        self.by_key: dict[Hashable, _Unit[T]] = {}
        self.ages: SortedItems[T] = SortedItems()
        self._value = value

    @property
    def oldest(self) -> int:
        return self.ages[0].order

    @property
    def first(self) -> T:
        return self.units[0].members[0]

    @property
    def value(self) -> float:
        return self._value(self.key)


class Ordered(Generic[T]):
    """Iterates over its tickets, the first served first."""

    def __init__(self, policy: Policy, value: Callable[[Hashable], float]) -> None:
        """`value` is what the account says of a flow."""
        self._policy = policy
        self._value = value
        self._flows: dict[Hashable, _Flow[T]] = {}
        self._by_turn: SortedItems[_Flow[T]] = SortedItems()
        self._changed: dict[_Flow[T], None] = {}  # flows, since the order was read last
        self._places: dict[T, tuple[_Flow[T], Hashable]] = {}  # with the key of its unit

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[T]:
        self._place_flows()
        if self._policy.drains:
            for flow in self._by_turn:
                for unit in flow.units:
                    yield from unit.members
            return
        turns, nth = list(self._by_turn), 0
        while turns:
            for flow in turns:
                yield from flow.units[nth].members
            nth += 1
            turns = [flow for flow in turns if len(flow.units) > nth]

    def position(self, ticket: T) -> Any:
        """Sorts a ticket among others as the iteration does."""
        self._place_flows()
        flow, key = self._places[ticket]
        unit = flow.by_key[key]
        nth = 0 if self._policy.drains else flow.units.index(unit)
        return nth, self._by_turn.key(flow), flow.units.key(unit), unit.members.key(ticket)

    def add(self, ticket: T) -> None:
        """Put a ticket in its place."""
        flow = self._flow(ticket)
        key = self._policy.unit(ticket)
        key = ("lone", ticket.order) if key is None else ("unit", key)
        unit = flow.by_key.get(key) or flow.by_key.setdefault(key, _Unit())
        unit.members.put(ticket, (self._policy.rank(ticket), ticket.order))
        flow.units.put(unit, unit.members.key(unit.members[0]))
        flow.ages.put(ticket, ticket.order)
        self._places[ticket] = flow, key

    def remove(self, ticket: T) -> None:
        """Take a ticket out. A flow of which none is left is forgotten when the order is read."""
        flow, key = self._places.pop(ticket)
        unit = flow.by_key[key]
        unit.members.remove(ticket)
        flow.ages.remove(ticket)
        if unit.members:
            flow.units.put(unit, unit.members.key(unit.members[0]))
        else:
            flow.units.remove(unit)
            del flow.by_key[key]
        self._changed[flow] = None

    def reorder(self, key: Hashable) -> None:
        """The turn of a flow may have changed."""
        if key in self._flows:
            self._changed[self._flows[key]] = None

    def _flow(self, ticket: T) -> _Flow[T]:
        key = self._policy.flow(ticket)
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = _Flow(key, ticket.order, self._value)
        flow.since = min(flow.since, ticket.order)
        self._changed[flow] = None
        return flow

    def _place_flows(self) -> None:
        for flow in self._changed:
            if flow.ages:
                self._by_turn.put(flow, (self._policy.turn(flow), flow.since))
                continue
            del self._flows[flow.key]
            if flow in self._by_turn:
                self._by_turn.remove(flow)
        self._changed.clear()
