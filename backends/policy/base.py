"""What a policy sees of a request, and what a policy is."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from backends.base import Place


@dataclass(slots=True, eq=False)
class Ticket:
    """A waiting request as policies see it; only what holds the queue writes to it."""

    order: int  # arrival order at this engine
    arrival_s: float
    place: Place
    op: str
    num_items: int
    due_s: float = 0.0  # throughput work: from when on it counts like latency-sensitive work


def _all(ticket: Ticket) -> Hashable:  # noqa: ARG001
    return None


def _alone(ticket: Ticket) -> Hashable | None:  # noqa: ARG001
    return None


def _at_once(ticket: Ticket) -> float:  # noqa: ARG001
    return 0.0


@dataclass(frozen=True, slots=True)
class Policy:
    """The order of requests at an engine, as pure functions of one request.

    A batch takes one unit of each flow, the flow whose oldest request waits longest first; then
    the next unit of each, until it is full. Of a flow, the unit with the least rank goes first.
    A batch is of one op, that of its first request, which goes however large it is.
    """

    name: str
    rank: Callable[[Ticket], Any]  # the least goes first, equal ones by arrival
    flow: Callable[[Ticket], Hashable] = _all  # requests of equal flows share their turns
    unit: Callable[[Ticket], Hashable | None] = _alone  # equal units go together; None: alone
    held_until_s: Callable[[Ticket], float] = _at_once  # before, only where nothing else waits
    unit_batches: int = 8  # a unit that needs more batches goes request by request
