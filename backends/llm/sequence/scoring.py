"""A sequence whose last tokens are scored and not generated."""

from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from typing import Literal

Score = Literal["mean", "sum"]


@dataclass(slots=True)
class Scoring:
    """The log-probabilities found so far of all tokens after the context."""

    num_context: int
    logprobs: dict[int, float] = field(default_factory=dict)  # by place in the sequence

    def note(self, first: int, logprobs: Items[float]) -> None:
        """Those of the tokens from place `first` on; again after a preemption."""
        self.logprobs.update(enumerate(logprobs, first))

    def score(self, kind: Score) -> float:
        """The sum of all, or the mean a token."""
        total = sum(self.logprobs.values())
        return total / len(self.logprobs) if kind == "mean" else total
