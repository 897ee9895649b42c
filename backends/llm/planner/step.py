"""The planner's choice for one step."""

from collections.abc import Sequence as Items
from dataclasses import dataclass, field

from backends.errors import EngineError
from backends.llm.model.batch import Run
from backends.llm.sequence.sequence import Sequence


@dataclass(slots=True)
class Step:
    """Runs to compute, and prefills that need no computing at all."""

    lineup: Items[Sequence] = ()  # all sequences, in the policy's order
    budget: int = 0  # tokens that are left
    runs: list[Run] = field(default_factory=list)
    ready: list[Sequence] = field(default_factory=list)
    refused: list[tuple[Sequence, EngineError]] = field(default_factory=list)  # still in the queue
    num_tokens: int = 0
    num_keys: int = 0  # keys read by all rows together
    is_closed: bool = False  # no more starts: pages were taken, or are reserved

    @property
    def sequences(self) -> list[Sequence]:
        """All participants: the sequences that may hold pages which this step writes."""
        return [*(run.sequence for run in self.runs), *self.ready]

    @property
    def num_sequences(self) -> int:
        return len(self.runs) + len(self.ready)
