"""Why a request waited: what the slot that it got ran meanwhile, and why that went first.

    q1.answer   ready ░░░░░░░░░░░░░░░░░░░░░░░░ start
    its slot    ├─ q2.map[3] ──┤├─ q3.plan ───┤├─ q1.answer
                 held the slot   q3's turn came first

A slot runs one batch after another while requests wait, so its batches are the whole wait, but for
loading and rate limits.
"""

from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from backends.policy.base import Policy, Ticket
from runtime.job import Job, Started

MOST_KEPT = 64  # batches that a slot remembers
LEAST_S = 1e-4  # that a batch took of the wait, to be told
MOST_NAMED = 5  # of which a request is told those that took longest

Why = Literal[
    "slot",  # it held the slot already
    "held",  # throughput work is held while anything else waits
    "op",  # a batch is of one op, and the other's turn came first
    "turn",  # its query's turn came first
    "group",  # of the same task group, it came first
    "rank",  # of the same query, the policy ranks it first
]


@dataclass(frozen=True, slots=True)
class Behind:
    """A batch that went before a request on its slot."""

    at: str  # its first request: query and path, as `q2.map[3].draft`
    seconds: float  # of the wait
    why: Why
    batch_size: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a request waited for its slot."""

    behind: tuple[Behind, ...] = ()  # the longest first
    num_more: int = 0  # further batches,
    more_s: float = 0.0  # and what they took

    @property
    def fields(self) -> dict[str, Any]:
        """As it stands in an event."""
        more = {"num_more": self.num_more, "more_s": round(self.more_s, 6)}
        return {
            "behind": [
                {"at": b.at, "s": round(b.seconds, 6), "why": b.why, "batch_size": b.batch_size}
                for b in self.behind
            ],
            **(more if self.num_more else {}),
        }


def wait_from(fields: Mapping[str, Any]) -> Wait:
    """Of the fields of an event. Raises ValueError, TypeError or LookupError."""
    behind = tuple(
        Behind(str(row["at"]), float(row["s"]), row["why"], int(row["batch_size"]))
        for row in fields.get("behind", ())
    )
    return Wait(behind, int(fields.get("num_more", 0)), float(fields.get("more_s", 0.0)))


class SlotPast:
    """What one slot of an engine ran recently. It keeps no request."""

    def __init__(self) -> None:
        self._batches: deque[_Ran] = deque(maxlen=MOST_KEPT)

    def ran(self, batch: Sequence[Job], policy: Policy, began_s: float, now_s: float) -> None:
        """A batch ended."""
        if batch:
            first = batch[0]
            keys = _Keys.of(first, policy)
            self._batches.append(_Ran(began_s, now_s, first.at, len(batch), keys))

    def told(self, started: Started, job: Job, policy: Policy) -> Started:
        """The same with why this job has waited."""
        wait = self.wait_of(job, policy)
        return replace(started, wait=wait.fields) if wait.behind else started

    def wait_of(self, job: Job, policy: Policy) -> Wait:
        """Why a request that starts now has waited."""
        keys = _Keys.of(job, policy)
        behind = []
        for ran in reversed(self._batches):
            if ran.ended_s <= job.arrival_s:
                break
            seconds = ran.ended_s - max(ran.began_s, job.arrival_s)
            if seconds >= LEAST_S and ran.at != job.at:  # else the engine refused it for now
                behind.append(Behind(ran.at, seconds, _why(ran, keys, job), ran.batch_size))
        behind.sort(key=lambda each: -each.seconds)
        more = behind[MOST_NAMED:]
        more_s = sum(each.seconds for each in more)
        return Wait(tuple(behind[:MOST_NAMED]), len(more), more_s)


@dataclass(frozen=True, slots=True)
class _Keys:
    """What the policy orders a request by."""

    op: str
    flow: Hashable
    unit: Hashable | None
    held_until_s: float

    @staticmethod
    def of(ticket: Ticket, policy: Policy) -> "_Keys":
        flow, unit = policy.flow(ticket), policy.unit(ticket)
        return _Keys(ticket.op, flow, unit, policy.held_until_s(ticket))


@dataclass(frozen=True, slots=True)
class _Ran:
    began_s: float
    ended_s: float
    at: str
    batch_size: int
    keys: _Keys


def _why(ran: _Ran, keys: _Keys, job: Job) -> Why:
    if ran.began_s <= job.arrival_s:
        return "slot"
    if keys.held_until_s > ran.began_s:
        return "held"
    if ran.keys.op != keys.op:
        return "op"
    if ran.keys.flow != keys.flow:
        return "turn"
    return "group" if keys.unit is not None and ran.keys.unit == keys.unit else "rank"
