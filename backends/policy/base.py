"""What a policy sees of a request, and what a policy is."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from backends.place import Place


@dataclass(slots=True, eq=False)
class Ticket:
    """A waiting request as policies see it; only what holds the queue writes to it."""

    order: int  # arrival order at this engine
    arrival_s: float
    place: Place
    op: str
    num_items: int
    due_s: float = 0.0  # throughput work: from when on it counts like latency-sensitive work
    num_known: int = 0  # prompt tokens whose KV is there, where the queue is the engine's own
    path_s: float = 0.0  # seconds of its program's calls one behind another, up to and with it


@dataclass(frozen=True, slots=True)
class Service:
    """What a request was given."""

    seconds: float = 0.0
    prefill_tokens: int = 0  # computed, not those found in a cache
    decode_tokens: int = 0


class Account(Protocol):
    """What a policy remembers of flows. Each call costs O(log n) of the flows that wait."""

    def arrived(self, flow: Hashable, ticket: Ticket, now_s: float) -> None:
        """A request of the flow waits."""

    def left(self, flow: Hashable, ticket: Ticket) -> None:
        """It waits no more: it runs, or was cancelled."""

    def serve(self, flow: Hashable, ticket: Ticket, service: Service) -> None:
        """A request that runs was given so much more."""

    def value(self, flow: Hashable) -> float:
        """What the turn of the flow goes by."""


class FlowView(Protocol):
    """The waiting requests of one flow, as policies see them."""

    @property
    def oldest(self) -> int:
        """The order of the oldest request."""

    @property
    def first(self) -> Ticket:
        """The request of the least rank."""

    @property
    def value(self) -> float:
        """What the policy's account says of the flow; 0 without one."""


def _all(ticket: Ticket) -> Hashable:  # noqa: ARG001
    return None


def _alone(ticket: Ticket) -> Hashable | None:  # noqa: ARG001
    return None


def _at_once(ticket: Ticket) -> float:  # noqa: ARG001
    return 0.0


def by_age(flow: FlowView) -> Any:
    """The flow whose oldest request waits longest goes first."""
    return flow.oldest


@dataclass(frozen=True, slots=True)
class Policy:
    """The order of requests at an engine, as pure functions of one request or of one flow.

    A batch takes one unit of each flow, in the order of their turns; then the next unit of each,
    until it is full. Of a flow, the unit with the least rank goes first. A batch is of one op, that
    of its first request, which goes however large it is. `rank`, `flow` and `unit` are asked when a
    request comes; what is left of a query (`Place.left`) changes, so only `turn` may read it.
    """

    name: str
    rank: Callable[[Ticket], Any]  # the least goes first, equal ones by arrival
    flow: Callable[[Ticket], Hashable] = _all  # requests of equal flows share their turns
    turn: Callable[[FlowView], Any] = by_age  # the least goes first, equal ones by age
    unit: Callable[[Ticket], Hashable | None] = _alone  # equal units go together; None: alone
    held_until_s: Callable[[Ticket], float] = _at_once  # before, only where nothing else waits
    unit_batches: int = 8  # a unit that needs more batches goes request by request
    drains: bool = False  # all units of a flow go before those of the next
    max_rounds: int | None = None  # units that a batch takes of a flow; None: as fit
    account: Callable[[], Account] | None = None  # a new one; every queue has its own
    reads_known: bool = False  # keys use `num_known`
    turn_s: Callable[[Ticket], float] | None = None  # the time at which its turn is due, by what is
    # known when it is sent: for engines that take one number a request
    # what runs say of themselves that it goes by: "tenant" (turns are fair between tenants, and at
    # servers between clients), "deadline_s"
    goes_by: tuple[str, ...] = ()
    patience_s: float | None = None  # from this age on, some turns are the oldest request's


@runtime_checkable
class OrdersSteps(Protocol):
    """An engine whose steps policies order too."""

    def order_by(self, policy: Policy) -> None:
        """From the next step on go by the policy, unless the engine was made with an order of its
        own."""
