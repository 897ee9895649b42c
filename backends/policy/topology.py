"""Topology-aware batching (Teola, Algorithm 2), made work-conserving.

First round: the queries by the arrival of their earliest waiting request, from each the deepest
one, so that no slot goes to work that unlocks nothing while another query is blocked. When room
is left, the next deepest of each query follow, until the batch is full or no request waits.
"""

from backends.policy.base import Policy

topology = Policy(
    "topology",
    flow=lambda ticket: ticket.place.query,
    rank=lambda ticket: -ticket.place.depth,
)
