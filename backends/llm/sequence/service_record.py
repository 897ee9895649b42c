"""How the steps of an engine serve one sequence."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from backends.served import Limit, Served

MOST_NAMED = 5  # queries


class PastStep(NamedTuple):
    """A step that ran."""

    elapsed_s: float
    limit: Limit  # what kept others out of it
    queries: frozenset[str]  # that it served


class ServiceRecord:
    """Of a sequence whose request is listened to."""

    def __init__(self, last_step: int) -> None:
        self.last_step = last_step  # that it was in; at first the last before it came
        self.num_preempted = 0
        self.preempted_by = ""
        self._began_s: float | None = None
        self._num_steps = 0
        self._first_step = 0
        self._num_chunks = 0
        self._largest_chunk = 0
        self._num_paused = 0
        self._paused_s = 0.0
        self._limits: dict[Limit, float] = defaultdict(float)
        self._behind: dict[str, float] = defaultdict(float)

    def missed(self, steps: Iterable[PastStep]) -> None:
        """Steps ran without it."""
        for step in steps:
            self._limits[step.limit] += step.elapsed_s
            for query in step.queries:
                self._behind[query] += step.elapsed_s
            if self._began_s is not None:
                self._num_paused += 1
                self._paused_s += step.elapsed_s

    def took_part(self, number: int, num_prompt_tokens: int, began_s: float) -> None:
        """It was in a step, which computed so many tokens of its prompt."""
        self.last_step = number
        self._num_steps += 1
        if self._began_s is None:
            self._began_s, self._first_step = began_s, number
        if num_prompt_tokens:
            self._num_chunks += 1
            self._largest_chunk = max(self._largest_chunk, num_prompt_tokens)

    def served(self, arrived_s: float) -> Served:
        """All of it."""
        return Served(
            queued_s=0.0 if self._began_s is None else self._began_s - arrived_s,
            num_steps=self._num_steps,
            first_step=self._first_step,
            last_step=self.last_step if self._num_steps else 0,
            num_chunks=self._num_chunks,
            largest_chunk=self._largest_chunk,
            num_paused=self._num_paused,
            paused_s=self._paused_s,
            num_preempted=self.num_preempted,
            preempted_by=self.preempted_by,
            limits=tuple(sorted(self._limits.items(), key=lambda each: -each[1])),
            behind=tuple(sorted(self._behind.items(), key=lambda each: -each[1])[:MOST_NAMED]),
        )
