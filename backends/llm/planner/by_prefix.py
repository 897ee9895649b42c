"""Longest cached prefix first, so that what the tree holds is used before it is evicted.

    waiting   a (0 cached)  b (640)  c (512)  ->  b c a; but once a has waited for `patience_s`,
              a is first, and no later request overtakes it

The order of SGLang (arXiv 2312.07104), which has no ageing and can starve. Only the oldest `MOST`
are looked up: the order is for a queue, and a lookup costs microseconds.
"""

from bisect import bisect_right
from collections.abc import Sequence as Items

from backends.llm.planner.policy import Order, View
from backends.llm.sequence.sequence import Sequence

MOST = 128


def by_prefix(patience_s: float) -> Order:
    """What runs, then what has waited too long, then by the length of the prefix found."""

    def order(sequences: Items[Sequence], view: View, now_s: float) -> Items[Sequence]:
        if not view.has_free_slot:
            return sequences  # no sequence can start
        fixed = bisect_right(
            sequences,
            now_s - patience_s,
            lo=view.num_running,
            key=lambda s: s.service.arrived_s,
        )
        end = fixed + MOST
        choice = sorted(sequences[fixed:end], key=lambda s: -len(view.known_pages(s)))
        return [*sequences[:fixed], *choice, *sequences[end:]]

    return order
