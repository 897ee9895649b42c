"""Continuous batching as in Orca (OSDI 2022): a prompt is never cut into chunks.

A baseline: a long prompt stalls all decodes while it is prefilled.
"""

from collections.abc import Sequence as Items

from backends.llm.planner.policy import View
from backends.llm.sequence.sequence import Sequence


def whole_prompts(sequences: Items[Sequence], view: View, now_s: float) -> int:  # noqa: ARG001
    """More than any prompts have."""
    return 1 << 30
