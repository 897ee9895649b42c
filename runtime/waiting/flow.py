"""The waiting requests of one flow and op: units by rank, and in each its members by rank."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from backends.policy.base import Account, Policy, Ticket
from backends.policy.ranking import Ranking

T = TypeVar("T", bound=Ticket)


@dataclass(slots=True, eq=False)
class Unit(Generic[T]):
    """Requests that go together."""

    key: Hashable
    members: Ranking[T] = field(default_factory=Ranking)
    num_items: int = 0


class Taker(Protocol[T]):
    """A batch that is being formed."""

    is_full: bool

    def goes_whole(self, unit: Unit[T]) -> bool:
        """Whether the unit is small enough to be one."""

    def offer(self, ticket: T) -> None:
        """Take the request, or note that it does not fit."""


class Flow(Generic[T]):
    """Requests that share their turns."""

    __slots__ = ("_account", "_arrivals", "_entries", "_policy", "_units", "key")

    def __init__(self, key: Hashable, policy: Policy, account: Account | None) -> None:
        self.key = key
        self._policy = policy
        self._account = account
        self._arrivals: Ranking[T] = Ranking()
        self._entries: Ranking[T | Unit[T]] = Ranking()  # lone requests, and units
        self._units: dict[Hashable, Unit[T]] = {}

    def __bool__(self) -> bool:
        return bool(self._arrivals)

    @property
    def oldest(self) -> int:
        """The order of the oldest request."""
        order: int = self._arrivals.first_key()
        return order

    @property
    def first(self) -> T:
        """The most urgent request."""
        entry = self._entries.first()
        return entry.members.first() if isinstance(entry, Unit) else entry

    @property
    def value(self) -> float:
        """What the account says of the flow."""
        return 0.0 if self._account is None else self._account.value(self.key)

    @property
    def turn(self) -> Any:
        """Flows with the least go first."""
        return self._policy.turn(self), self.oldest

    @property
    def rank(self) -> Any:
        """The rank of the most urgent request."""
        return self._entries.first_key()

    def put(self, ticket: T) -> None:
        rank = (self._policy.rank(ticket), ticket.order)
        self._arrivals.put(ticket, ticket.order)
        key = self._policy.unit(ticket)
        if key is None:
            self._entries.put(ticket, rank)
            return
        unit = self._units.get(key)
        if unit is None:
            unit = self._units[key] = Unit(key)
        unit.num_items += ticket.num_items
        unit.members.put(ticket, rank)
        self._entries.put_least(unit, rank)

    def remove(self, ticket: T) -> None:
        """Take out a request that was put in."""
        self._arrivals.remove(ticket)
        key = self._policy.unit(ticket)
        if key is None:
            self._entries.remove(ticket)
            return
        unit = self._units[key]
        unit.members.remove(ticket)
        unit.num_items -= ticket.num_items
        self._entries.remove(unit)
        self._keep(unit)

    def take_first(self) -> T:
        """Take the most urgent request out."""
        entry = self._entries.first()
        if isinstance(entry, Unit):
            ticket = entry.members.pop()
            entry.num_items -= ticket.num_items
            if entry.members:
                self._entries.put(entry, entry.members.first_key())
            else:
                self._entries.remove(entry)
                del self._units[entry.key]
        else:
            ticket = self._entries.pop()  # type: ignore[assignment]
        self._arrivals.remove(ticket)
        return ticket

    def take_turn(self, batch: Taker[T]) -> None:
        """Offer the most urgent unit to the batch; of one that is too large, one request."""
        entry = self._entries.pop()
        if not isinstance(entry, Unit):
            self._arrivals.remove(entry)
            batch.offer(entry)
            return
        is_whole = batch.goes_whole(entry)
        while entry.members and not batch.is_full:
            ticket = entry.members.pop()
            entry.num_items -= ticket.num_items
            self._arrivals.remove(ticket)
            batch.offer(ticket)
            if not is_whole:
                break
        self._keep(entry)

    def _keep(self, unit: Unit[T]) -> None:
        if unit.members:
            self._entries.put(unit, unit.members.first_key())
        else:
            del self._units[unit.key]
