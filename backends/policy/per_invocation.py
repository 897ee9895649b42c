"""One invocation a batch, first come, first served: Teola's PO baseline.

The requests of one call (a map's items count as one) are bundled; no batch is shared by two.
"""

from backends.policy.base import Policy

per_invocation = Policy(
    "per_invocation",
    unit=lambda ticket: (ticket.place.query, ticket.place.node or ticket.order),
    rank=lambda ticket: ticket.order,
    max_rounds=1,
)
