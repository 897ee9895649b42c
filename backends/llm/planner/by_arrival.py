"""First come, first served."""

from collections.abc import Sequence as Items

from backends.llm.planner.policy import View
from backends.llm.sequence.sequence import Sequence


def by_arrival(sequences: Items[Sequence], view: View, now_s: float) -> Items[Sequence]:  # noqa: ARG001
    """As they are: what runs before what waits, each in order of arrival."""
    return sequences
