"""Skip-join multi-level feedback: short work first, without knowing which work is short.

    level   0    1    2    3 ...     a new sequence joins the first level whose quantum holds its
    quantum q   2q   4q   8q ...     prompt; having used up its level's quantum it sinks by one

Levels go in order, one level first come, first served. What sank keeps its pages while there is
room and is first to lose them. A sequence that has not run for `patience_s` precedes all others and
counts as new from then on. FastServe (arXiv 2305.05920). It pays where a few outputs are far longer
than the rest and slots are short; where lengths are alike it only delays.
"""

from collections.abc import Sequence as Items

from backends.llm.planner.policy import Order, View
from backends.llm.sequence.sequence import Sequence
from backends.llm.service_stats import ServiceStats


def by_level(quantum_s: float, patience_s: float) -> Order:
    """By level, then by arrival, whether they run or wait."""

    def order(sequences: Items[Sequence], view: View, now_s: float) -> Items[Sequence]:  # noqa: ARG001
        def place(sequence: Sequence) -> tuple[int, int]:
            service = sequence.service
            if now_s - service.last_s >= patience_s:
                return -1, sequence.arrival
            return level_of(service, quantum_s), sequence.arrival

        return sorted(sequences, key=place)

    return order


def level_of(service: ServiceStats, quantum_s: float) -> int:
    """The first level is f; on level i >= f it has been served q*(2**i - 2**f) or more."""
    served = int(service.served_s / quantum_s) + _first_span(service, quantum_s)
    return served.bit_length() - 1


def _first_span(service: ServiceStats, quantum_s: float) -> int:
    """2**f: the quantum of its first level, in quanta of level 0."""
    prefill = -(-service.prefill_s // quantum_s)  # quanta, rounded up
    return 1 << max(0, int(prefill) - 1).bit_length()
