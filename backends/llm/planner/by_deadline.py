"""Earliest deadline first: what came first or wants its tokens fastest.

The deadline of a sequence is its arrival plus the time it wants between tokens, so requests with
tight targets precede slightly older ones, and every request is first eventually. With `itl_budget`
these are the first two mechanisms of AccelGen (arXiv 2503.13737); its packing of two resources is
left out.
"""

from collections.abc import Sequence as Items

from backends.llm.planner.policy import Order, View
from backends.llm.sequence.sequence import Sequence

NO_TARGET_S = 60.0  # as if it wanted a token a minute


def by_deadline(itl_s: float | None) -> Order:
    """What runs, then what waits. `itl_s` is for requests that name no target of their own."""
    default_s = NO_TARGET_S if itl_s is None else itl_s

    def order(sequences: Items[Sequence], view: View, now_s: float) -> Items[Sequence]:  # noqa: ARG001
        def deadline(sequence: Sequence) -> tuple[bool, float, int]:
            target_s = sequence.request.itl_s
            wanted_s = default_s if target_s is None else target_s
            due_s = sequence.service.arrived_s + wanted_s
            return not sequence.is_running, due_s, sequence.arrival

        return sorted(sequences, key=deadline)

    return order
