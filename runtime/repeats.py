"""Work without effects runs again where its engine failed, so that a short outage fails no query.

An engine that is gone, or has no room, may do better a moment later, or another instance of it. A
budget keeps repetitions few (`retry_budget.py`). A text that was told in part is written again from
its start, and told from where the telling broke off.
"""

import asyncio
from collections.abc import Callable
from random import Random

from backends.base import Outcome, Result
from backends.errors import EngineBroken, EngineOverloaded, EngineUnavailable
from backends.remote.routing.retelling import Retelling, can_be_retold
from backends.retry_budget import RetryBudget
from runtime.clock import now
from runtime.job import Job

FIRST_DELAY_S = 0.1  # doubled with each try, with jitter
LONGEST_DELAY_S = 30.0  # that an engine may ask for: a query would rather fail

_PASSING = (EngineUnavailable, EngineOverloaded, EngineBroken)


class Repeats:
    """Of the jobs of one engine."""

    def __init__(self, name: str, retries: int, submit: Callable[[Job], None]) -> None:
        self._name = name
        self._retries = retries
        self._submit = submit  # once more
        self._random = Random(name)
        self._budget = RetryBudget()
        self._num_failed: dict[str, int] = {}  # by request id
        self._texts: dict[str, Retelling] = {}  # by request id: those that tell
        self._pausing: dict[str, tuple[Job, asyncio.TimerHandle]] = {}

    @property
    def num_pausing(self) -> int:
        return len(self._pausing)

    def begin(self, job: Job) -> None:
        """The job is new."""
        self._budget.sent()
        request = job.request
        if job.may_repeat and request.emit is not None and self._retries:
            text = self._texts[request.id] = Retelling(request.emit)
            text.begin()
            request.emit = text.tell

    def takes(self, job: Job, outcome: Outcome) -> bool:
        """Whether a job that failed runs once more, after a wait; if not it has ended."""
        if isinstance(outcome, _PASSING) and self._may_repeat(job, outcome):
            self._pause(job, outcome)
            return True
        return False

    def checked(self, job: Job, outcome: Outcome) -> Outcome:
        """The outcome of a job that has ended, unless its text is not what was told in part."""
        if self._num_failed:
            self._num_failed.pop(job.request.id, None)
        text = self._texts.pop(job.request.id, None) if self._texts else None
        if text is None or not isinstance(outcome, Result) or text.fits(outcome):
            return outcome
        return EngineUnavailable(
            f"engine {self._name!r} failed in the middle of a text, and wrote it otherwise then"
        )

    def cancel(self, job: Job) -> None:
        """Forget a job."""
        self._num_failed.pop(job.request.id, None)
        self._texts.pop(job.request.id, None)
        found = self._pausing.pop(job.request.id, None)
        if found is not None:
            found[1].cancel()

    def close(self) -> list[Job]:
        """Those that wait here, which will not run again."""
        self._texts.clear()
        left, self._pausing = self._pausing, {}
        for _, timer in left.values():
            timer.cancel()
        return [job for job, _ in left.values()]

    def _may_repeat(self, job: Job, error: Exception) -> bool:
        num_failed = self._num_failed.get(job.request.id, 0)
        if not job.may_repeat or job.is_cancelled or num_failed >= self._retries:
            return False
        text = self._texts.get(job.request.id)
        if text is not None and text.told and not can_be_retold(job.request.attrs):
            return False
        if _asked_s(error) > LONGEST_DELAY_S:
            return False
        if self._budget.take(now()):
            return True
        error.add_note(f"not tried again: too many requests of engine {self._name!r} fail")
        return False

    def _pause(self, job: Job, error: Exception) -> None:
        key = job.request.id
        num_failed = self._num_failed[key] = self._num_failed.get(key, 0) + 1
        delay_s = FIRST_DELAY_S * 2 ** (num_failed - 1) * self._random.uniform(0.5, 1.0)
        delay_s += _asked_s(error)
        told = {"error": f"{type(error).__name__}: {error}", "after_s": round(delay_s, 3)}
        timer = asyncio.get_running_loop().call_later(delay_s, self._resume, key)
        self._pausing[key] = job, timer
        job.on_retry(told)

    def _resume(self, key: str) -> None:
        job, _ = self._pausing.pop(key)
        if key in self._texts:
            self._texts[key].begin()
        self._submit(job)


def _asked_s(error: Exception) -> float:
    """The pause that an engine without room asks for."""
    return (error.retry_after_s or 0.0) if isinstance(error, EngineOverloaded) else 0.0
