"""The shortest expected remaining application first (Kairos, arXiv 2508.06948, by the plan).

As `application_aware` without ageing, task groups and objectives. The mean is as low, but long
queries pay for it: they have their turns only as the oldest, once they waited for `patience_s`.
"""

from backends.policy.base import FlowView, Policy


def _left_s(flow: FlowView) -> float:
    """The work that is left of a query, as corrected; else of its requests the longest way."""
    place = flow.first.place
    return place.left_s if place.left is None else place.left.work_s


shortest_remaining = Policy(
    "shortest_remaining",
    flow=lambda ticket: ticket.place.query,
    turn=_left_s,
    rank=lambda ticket: -ticket.place.left_s,
    drains=True,
    patience_s=10.0,
)
