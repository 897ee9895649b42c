"""The shortest expected remaining application first (Kairos, arXiv 2508.06948, by the plan).

As `application_aware`, without task groups and objectives: the order alone.
"""

from backends.policy.application_aware import left_s
from backends.policy.base import Policy

shortest_remaining = Policy(
    "shortest_remaining",
    flow=lambda ticket: ticket.place.query,
    turn=left_s,
    rank=lambda ticket: -ticket.place.left_s,
    drains=True,
    patience_s=10.0,
)
