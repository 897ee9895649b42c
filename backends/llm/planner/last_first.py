"""The last in line loses its pages first."""

from collections.abc import Sequence as Items

from backends.llm.planner.policy import View
from backends.llm.sequence.sequence import Sequence


def last_first(sequences: Items[Sequence], view: View, now_s: float) -> Items[Sequence]:  # noqa: ARG001
    """The order turned around: the newest, the least urgent, the lowest level."""
    return sequences[::-1]
