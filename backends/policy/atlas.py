"""Attained service by the critical path, least first (Autellix, arXiv 2502.13965: ATLAS).

As `plas`, but calls that a program made side by side count once: the service of a program is its
longest chain of calls so far.
"""

from backends.policy.accounts import LongestPath
from backends.policy.base import Policy

atlas = Policy(
    "atlas",
    flow=lambda ticket: ticket.place.program or ticket.place.query,
    turn=lambda flow: flow.value,
    rank=lambda ticket: ticket.order,
    drains=True,
    account=LongestPath,
    patience_s=10.0,
)
