"""Continuous batching as in Orca (OSDI 2022): a prompt is never cut into chunks.

Here to be compared with: a long prompt stops everybody's decode for as long as it takes.
"""

from collections.abc import Sequence as Items

from backends.llm.planner.policy import View
from backends.llm.sequence import Sequence


def whole_prompts(sequences: Items[Sequence], view: View, now_s: float) -> int:  # noqa: ARG001
    """More than any prompts have."""
    return 1 << 30
