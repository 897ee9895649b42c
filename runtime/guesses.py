"""Prompts that are computed ahead on a guess of what they will be: when, and what came of it.

The pass `prefill_ahead` makes such prefills; `asides.py` runs and stops them. Of what a guess
computed, the prompt finds in the cache what it begins with. The rest was wasted, and is counted.
"""

from collections.abc import Mapping
from dataclasses import replace

from backends.base import Outcome, Result, Usage
from backends.errors import RequestAborted
from graph_opt.graph import Json

MAX_JOBS = 4  # at the engine: RAGCache guesses while fewer prompts wait than a batch takes
WEIGHT = 0.1  # of the newest guess
ENOUGH = 0.25  # of what is computed must be read
TRY_EACH = 16  # of those that would not pay, one tells whether that is still so


class GuessHistory:
    """What came of the guesses at one engine. At first they are expected to come true."""

    def __init__(self) -> None:
        self._share = 1.0  # of the computed tokens that were read, recently
        self._num_left = 0

    def may_begin(self, attrs: Mapping[str, Json], num_jobs: int) -> bool:
        """Whether an engine with so many jobs is to compute one: where the app asked for it,
        while it has room; else while it is idle and enough of it is read."""
        if "asked" in attrs:
            return num_jobs < MAX_JOBS
        return not num_jobs and self._pays()

    def note(self, share: float) -> None:
        """Learn how much of one was read."""
        self._share += WEIGHT * (share - self._share)

    def _pays(self) -> bool:
        if self._share >= ENOUGH:
            return True
        self._num_left = (self._num_left + 1) % TRY_EACH
        return not self._num_left


class Guess:
    """One of them, from its start until its prompt has been computed."""

    def __init__(self, history: GuessHistory) -> None:
        self._history = history
        self._usage = Usage()

    def ended(self, outcome: Outcome) -> None:
        """It was computed, as far as that went."""
        if isinstance(outcome, (Result, RequestAborted)):
            self._usage = outcome.usage

    def settled(self, outcome: Outcome) -> Outcome:
        """The outcome of its prompt, with the tokens that were computed for nothing."""
        computed = self._usage.prefill_tokens
        if not computed or not isinstance(outcome, Result):
            return outcome
        more = outcome.usage.cached_tokens - self._usage.cached_tokens
        read = min(computed, max(0, more))
        self._history.note(read / computed)
        return replace(outcome, usage=replace(outcome.usage, wasted_tokens=computed - read))
