"""First come, first served."""

from collections.abc import Sequence

from runtime.policy.base import Ticket, fill


def fcfs(waiting: Sequence[Ticket], max_items: int, now_s: float) -> list[Ticket]:  # noqa: ARG001
    """The oldest requests that fit one batch."""
    return fill(waiting, max_items)
