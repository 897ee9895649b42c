"""Applications before requests: the query with least left goes first, with all that waits of it.

    query a   40 s left   map map map map          line   b: rerank answer
    query b    3 s left   answer                          a: map map map map

The shortest remaining time first, of queries and not of requests: so a query that is nearly done
leaves, and one whose calls work side by side is not spread over the time of all others. With
ageing:

    key of a query = when it began + AGEING * seconds of engines that it still asks for

What it still asks for is the plan's estimate, corrected while the query runs (`runtime.left`). Of
one query what has the longest way to the end goes first (the bottom level of list scheduling), with
its task group as a unit: of its members only the last to finish counts (Parrot, section 5.2).

Unlike objectives are kept apart: a batch with latency-sensitive requests takes no work with
the throughput objective, which would only make it longer. Throughput work gets what batches are
left, filled as far as they go, in the order of arrival.

No request starves: a query is overtaken only by queries that begin within AGEING * (what it asks
for) after it. Throughput work falls due, one request a second and engine at most (and a tenth of
what an API with rate limits allows), after ten seconds: a backlog thus never precedes
latency-sensitive work.
"""

from collections.abc import Hashable

from backends.policy.base import Policy, Ticket


def group_of(ticket: Ticket) -> Hashable | None:
    """The task group of a request, of one stage."""
    place = ticket.place
    return None if place.group is None else (place.query, place.group, place.depth)


def due_s(ticket: Ticket) -> float:
    """Before, throughput work goes only where nothing else waits."""
    return 0.0 if ticket.place.objective == "latency" else ticket.due_s


AGEING = 0.5  # seconds of waiting for each second of work


def _turn_s(ticket: Ticket) -> float:
    left = ticket.place.left
    if left is None:
        return ticket.arrival_s + AGEING * ticket.place.left_s
    return left.since_s + AGEING * left.work_s


application_aware = Policy(
    "application_aware",
    flow=lambda ticket: ticket.place.query,
    turn=lambda flow: _turn_s(flow.first),
    turn_s=_turn_s,
    unit=group_of,
    rank=lambda ticket: -ticket.place.left_s,
    held_until_s=due_s,
    drains=True,
)
