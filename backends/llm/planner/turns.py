"""Turns of what runs, under policies that go by attained service, while pages are short.

What runs is given service, so what waits is soon ahead of it, takes its pages, is given service
itself, and loses them again: each time all of its KV is computed anew. So once something has lost
its pages, what runs keeps its own until its turn is over:

    begins ├──────────── turn ────────────┤ from here on as the policy says
           longer of QUANTUM_S and REPAID times what computing its KV again takes, for each
           that runs: all of them wait meanwhile

Then about a share 1 / REPAID of the time goes into computing again. FastServe's levels (mlfq) do
the same by quanta that double (arXiv 2305.05920).
"""

from collections.abc import Sequence as Items

from backends.llm.planner.policy import View
from backends.llm.sequence.sequence import Sequence

QUANTUM_S = 0.2
REPAID = 8


class Turns:
    """Costs O(running) a step."""

    def __init__(self) -> None:
        self._begun: dict[Sequence, float] = {}  # those that run -> seconds served before

    def first(
        self, ordered: list[Sequence], running: Items[Sequence], view: View
    ) -> list[Sequence]:
        """The same sequences, those whose turn is not over before all others."""
        self._begun = {
            s: min(self._begun.get(s, s.service.served_s), s.service.served_s) for s in running
        }
        if not any(s.was_preempted and not s.is_running for s in ordered):
            return ordered
        keeps = {s for s in self._begun if not self._is_over(s, view)}
        return [*(s for s in ordered if s in keeps), *(s for s in ordered if s not in keeps)]

    def _is_over(self, sequence: Sequence, view: View) -> bool:
        again_s = view.num_running * view.latency.prefill_s(0, sequence.table.num_computed)
        served_s = sequence.service.served_s - self._begun[sequence]
        return served_s >= max(QUANTUM_S, REPAID * again_s)
