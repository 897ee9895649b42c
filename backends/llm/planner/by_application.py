"""Applications before requests: the order of a policy that knows whose query a request belongs to.

    query a   40 s left   map map map map          line   b: rerank answer
    query b    3 s left   answer                          a: map map map map

A query with less left precedes one with more, all of its requests together, whether they run or
wait: the shortest remaining time first, of queries and not of requests. So a query that is nearly
done leaves, and one whose calls work side by side is not spread over the time of all others. Of one
query, what has the longest way to its end goes first, the critical path. What is left comes with
each request (`Request.place`), from the plan and its cost model. A request of no query, as those of
clients over HTTP, counts as one whose prompt is all that is left.

So that nothing starves, the oldest of all goes first once it is `patience_s` old; it takes one
place in a step.
"""

from collections.abc import Sequence as Items

from backends.llm.planner.policy import Order, View
from backends.llm.sequence.sequence import Sequence


def by_application(patience_s: float) -> Order:
    """The query with least left first, and of each the request with the longest way to its end."""

    def order(sequences: Items[Sequence], view: View, now_s: float) -> Items[Sequence]:
        if _all_decode(sequences, view) or not any(s.request.place for s in sequences):
            return sequences
        left_s: dict[str, float] = {}
        for sequence in sequences:
            query, own_s = _standing(sequence)
            left_s[query] = max(left_s.get(query, 0.0), own_s)
        oldest = min(sequences, key=lambda s: s.arrival)
        is_overdue = now_s - oldest.service.arrived_s >= patience_s

        def rank(sequence: Sequence) -> tuple[bool, float, str, float, int]:
            query, own_s = _standing(sequence)
            is_behind = is_overdue and sequence is not oldest
            return is_behind, left_s[query], query, -own_s, sequence.arrival

        return sorted(sequences, key=rank)

    return order


def _all_decode(sequences: Items[Sequence], view: View) -> bool:
    """Then all are in the step, in whatever order."""
    return len(sequences) == view.num_running <= view.max_running and all(
        sequence.is_decoding for sequence in sequences
    )


def _standing(sequence: Sequence) -> tuple[str, float]:
    """Its query, and the seconds that are left of that from this request on."""
    place = sequence.request.place
    if place is None:
        return sequence.request.id, sequence.service.prefill_s
    return place.query, place.left_s
