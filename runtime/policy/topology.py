"""Topology-aware batching (Teola, Algorithm 2), made work-conserving.

First round: the queries by the arrival of their earliest waiting request, from each the deepest
one, so that no slot goes to work that unlocks nothing while another query is blocked. When room
is left, the next deepest of each query follow, until the batch is full or nobody waits.
"""

from collections import defaultdict
from collections.abc import Sequence

from runtime.policy.base import Ticket, fill


def topology(waiting: Sequence[Ticket], max_items: int, now_s: float) -> list[Ticket]:  # noqa: ARG001
    """The deepest request of each query, oldest query first, then the next deepest ..."""
    buckets: dict[str, list[Ticket]] = defaultdict(list)
    for ticket in waiting:
        buckets[ticket.query].append(ticket)
    rounds: list[tuple[int, int, Ticket]] = []
    for turn, bucket in enumerate(buckets.values()):
        deepest_first = sorted(bucket, key=lambda t: (-t.hint.depth, t.order))
        rounds.extend((nth, turn, ticket) for nth, ticket in enumerate(deepest_first))
    rounds.sort(key=lambda entry: entry[:2])
    return fill([ticket for _, _, ticket in rounds], max_items)
