"""Larger priority first; a request that comes later takes slots and pages from smaller ones.

Strict: while larger ones keep the engine busy, smaller ones wait.
"""

from collections.abc import Sequence as Items

from backends.llm.planner.policy import View
from backends.llm.sequence.sequence import Sequence


def by_priority(sequences: Items[Sequence], view: View, now_s: float) -> Items[Sequence]:  # noqa: ARG001
    """By priority, then by arrival, whether they run or wait."""
    return sorted(sequences, key=lambda s: (-s.request.priority, s.arrival))
