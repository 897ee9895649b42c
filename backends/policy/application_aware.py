"""Application-aware batching: Teola's rounds over queries, by critical path, in task groups.

A *unit* is one request or a task group: the requests of one query that work side by side for one
consumer, of which only the last to finish counts (Parrot, section 5.2). So a group goes together,
as large a batch as there is room for, before the unit of the next query. In rounds, as in Teola's
algorithm 2: from each query, the one that waits longest first, the unit with the longest way to
the end of its query, by the cost model (the bottom level of list scheduling); then the next unit
of each, until the batch is full.

Unlike objectives are kept apart: a batch with latency-sensitive requests takes no work with
the throughput objective, which would only make it longer. Throughput work gets what batches are
left, filled as far as they go, in the order of arrival.

No request starves. The query that waits longest comes first, so only older requests of the same
query precede it; a group of very many batches goes request by request, so that queries behind it
get their turn; and throughput work falls due, one request a second and engine at most (and a tenth
of what an API with rate limits allows), after ten seconds: a backlog thus never precedes
latency-sensitive work.
"""

from collections.abc import Hashable

from backends.policy.base import Policy, Ticket


def _group(ticket: Ticket) -> Hashable | None:
    place = ticket.place
    return None if place.group is None else (place.group, place.depth)


def _due_s(ticket: Ticket) -> float:
    return 0.0 if ticket.place.objective == "latency" else ticket.due_s


application_aware = Policy(
    "application_aware",
    flow=lambda ticket: ticket.place.query,
    unit=_group,
    rank=lambda ticket: -ticket.place.left_s,
    held_until_s=_due_s,
)
