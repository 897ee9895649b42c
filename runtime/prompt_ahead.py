"""The beginning of a prompt that is likely to come, prefilled: the prompt finds it in the cache."""

from collections.abc import Callable, Mapping
from typing import Any

from backends.base import Context, Outcome, Part, Result, Usage
from backends.errors import RequestAborted
from runtime.guess_budget import CHARS_PER_TOKEN, NOTHING, Cost, GuessBudget, cost_of
from runtime.job import Job, Scheduler, Started
from runtime.scope import release


class PromptAhead:
    """One of them. Holds its context until `stop`."""

    def __init__(
        self,
        parts: tuple[Part, ...],
        attrs: Mapping[str, Any],
        budget: GuessBudget,
        on_late: Callable[["PromptAhead", Usage], None],
    ) -> None:
        """`on_late` is told what was for nothing where that is known only after it was settled:
        once, where it was stopped while it ran."""
        self._on_late = on_late
        self._parts = parts
        self._attrs = dict(attrs)
        self._budget = budget
        self._sent: tuple[Job, Scheduler] | None = None
        self._context: Context | None = None
        self._usage = Usage()
        self._runs = self._has_started = False
        self._is_settled = False

    def send(self, job: Job, scheduler: Scheduler) -> None:
        """Queue the prefill."""
        job.on_start, job.on_done, job.hears_stop = self._started, self._came, True
        self._sent, self._runs = (job, scheduler), True
        scheduler.submit(job)

    @property
    def is_stopping(self) -> bool:
        """Whether an engine still computes it, and has not said what it cost."""
        return self._runs and self._has_started

    def estimated(self, most: Cost | None) -> Usage:
        """At most so much is for nothing, about: `most` is what such a guess ever cost."""
        chars = sum(len(part) for part in self._parts if isinstance(part, str))
        tokens = max(1, chars // CHARS_PER_TOKEN)
        if most is not None and most.tokens:
            tokens = min(tokens, round(most.tokens))
        return Usage(prefill_tokens=tokens, wasted_tokens=tokens, estimated_tokens=tokens)

    def begins(self, parts: tuple[Part, ...], attrs: Mapping[str, Any]) -> bool:
        """Whether a prompt begins with it."""
        return self._parts == parts[: len(self._parts)] and self._attrs == attrs

    def stop(self) -> None:
        """The prompt is there, or will not come: what was computed stays in the cache as long as
        there is room."""
        if self._runs and self._sent is not None:
            job, scheduler = self._sent
            scheduler.cancel(job)
        if self._context is not None:
            self._context.release()

    def settle(self, outcome: Outcome | None) -> tuple[Cost, Usage]:
        """The prompt has been computed, or did not come (None): what the guess computed, and what
        of it for nothing."""
        self._is_settled = True
        computed = self._usage.prefill_tokens
        read = 0
        if isinstance(outcome, Result):
            read = max(0, outcome.usage.cached_tokens - self._usage.cached_tokens)
        wasted = computed - min(computed, read)
        self._budget.end(Cost(float(computed - wasted)), Cost(float(wasted)))
        self._budget.close(self)
        return cost_of(self._usage), Usage(prefill_tokens=wasted, wasted_tokens=wasted)

    def _started(self, _: Started) -> None:
        self._has_started = True

    def _came(self, outcome: Outcome) -> None:
        self._runs = False
        usage = outcome.usage if isinstance(outcome, Result | RequestAborted) else Usage()
        if self._is_settled:
            self._budget.end(NOTHING, cost_of(usage))
            late = usage.prefill_tokens
            self._on_late(self, Usage(prefill_tokens=late, wasted_tokens=late))
            for value in outcome.outputs if isinstance(outcome, Result) else ():
                release(value)
            return
        self._usage = usage
        if isinstance(outcome, Result):
            self._context = outcome.outputs[0]
