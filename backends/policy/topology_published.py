"""Topology-aware batching as published (Teola, Algorithm 2): of each query one node a batch.

Queries by the arrival of their earliest waiting request; from each the deepest node, as many of
its requests as fit. It stops after one round, so it is not work-conserving: slots stay empty
though requests wait. Inside an engine, where all that waits is in line, it is `topology` with the
requests of a node together.
"""

from backends.policy.base import Policy

topology_published = Policy(
    "topology_published",
    flow=lambda ticket: ticket.place.query,
    unit=lambda ticket: ticket.place.node or ticket.order,
    rank=lambda ticket: -ticket.place.depth,
    max_rounds=1,
)
