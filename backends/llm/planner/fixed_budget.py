"""Sarathi-Serve's token budget (arXiv 2403.02310): the planner fills it with all decodes first,
then with chunks of prompts that have begun, then with new prompts, so that no decode stalls."""

from collections.abc import Sequence as Items

from backends.llm.planner.policy import View
from backends.llm.sequence.sequence import Sequence


def fixed_budget(sequences: Items[Sequence], view: View, now_s: float) -> int:  # noqa: ARG001
    """The same for each step."""
    return view.token_budget
