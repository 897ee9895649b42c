"""All that waits or runs in the order of a policy: for engines, which order everything each step.

The order is that in which a queue would give one batch without end (`runtime.waiting`).
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from backends.policy.base import Policy, Ticket

T = TypeVar("T", bound=Ticket)


@dataclass(frozen=True, slots=True)
class _Flow:
    oldest: int
    first: Ticket
    value: float


def in_order(
    policy: Policy,
    tickets: Sequence[T],
    value: Callable[[Hashable], float],
    max_unit_items: float = float("inf"),
    since: Mapping[Hashable, int] | None = None,
) -> list[T]:
    """The tickets, the first served first; `value` is what the account says of a flow. Of flows
    with equal turns the older goes first, by its oldest ticket or by what `since` has of it."""
    flows: dict[Hashable, list[T]] = defaultdict(list)
    for ticket in tickets:
        flows[policy.flow(ticket)].append(ticket)
    rank = _rank(policy)
    views = {key: _view(flow, rank, value(key)) for key, flow in flows.items()}
    ages = since or {key: view.oldest for key, view in views.items()}
    keys = sorted(flows, key=lambda key: (policy.turn(views[key]), ages[key]))
    placed: list[tuple[int, int, list[T]]] = []
    for turn, key in enumerate(keys):
        for nth, unit in enumerate(_units(policy, flows[key], rank, max_unit_items)):
            placed.append((0 if policy.drains else nth, turn, unit))
    placed.sort(key=lambda each: each[:2])
    return [ticket for _, _, unit in placed for ticket in unit]


def _rank(policy: Policy) -> Callable[[Ticket], Any]:
    return lambda ticket: (policy.rank(ticket), ticket.order)


def _view(flow: Sequence[Ticket], rank: Callable[[Ticket], Any], value: float) -> _Flow:
    return _Flow(min(ticket.order for ticket in flow), min(flow, key=rank), value)


def _units(
    policy: Policy, tickets: Sequence[T], rank: Callable[[Ticket], Any], max_items: float
) -> Iterator[list[T]]:
    together: dict[Hashable, list[T]] = defaultdict(list)
    for ticket in tickets:
        key = policy.unit(ticket)
        together[("lone", ticket.order) if key is None else ("unit", key)].append(ticket)
    found: list[list[T]] = []
    for members in together.values():
        members.sort(key=rank)
        is_whole = sum(ticket.num_items for ticket in members) <= max_items
        found += [members] if is_whole else [[each] for each in members]
    yield from sorted(found, key=lambda unit: rank(unit[0]))
