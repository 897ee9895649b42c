"""Tries a request again when it fails, and gives it up when it takes too long.

Between tries it waits, twice as long each time, with jitter from a stream of its own: queries that
fail together do not come back together. A plain function that takes too long cannot be stopped:
its thread runs on, unseen.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Any

from backends.base import Outcome
from backends.errors import RequestRejected
from graph_opt.graph import Node
from runtime.dispatch import new_request_id
from runtime.errors import TookTooLong
from runtime.job import Job, Scheduler, Started

FIRST_DELAY_S = 0.1
MAX_DELAY_S = 10.0


class Tries:
    """One job, up to 1 + `retries` times; a request that the engine refused is not tried again."""

    def __init__(
        self,
        scheduler: Scheduler,
        job: Job,
        retries: int,
        timeout_s: float | None,
        seed: str,
        on_retry: Callable[[Mapping[str, Any]], None],  # the fields of an event
    ) -> None:
        self._scheduler = scheduler
        self._job = job
        self._retries = retries
        self._timeout_s = timeout_s
        self._random = Random(seed)
        self._on_retry = on_retry
        self._current: Job | None = None  # what the engine has
        self._timer: asyncio.TimerHandle | None = None
        self._num_failed = 0

    def submit(self) -> None:
        """Begin a try."""
        request = self._job.request
        if self._num_failed:
            request = replace(request, id=new_request_id())
        job = self._job.replaced(lambda outcome: self._done(job, outcome), request)
        job.on_start = self._started
        job.has_tries_left = self._num_failed < self._retries
        job.may_join = self._timeout_s is None  # else its time would be that of another's try
        self._current = job
        self._scheduler.submit(job)

    def cancel(self) -> None:
        """Give up; no outcome is told."""
        self._stop_timer()
        job, self._current = self._current, None
        if job is not None:
            self._scheduler.cancel(job)

    def _started(self, started: Started) -> None:
        self._job.on_start(started)
        self._stop_timer()  # of a start before: the engine refused it, and the job waited again
        if self._timeout_s is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._timeout_s, self._expired, self._timeout_s)

    def _expired(self, timeout_s: float) -> None:
        error = TookTooLong(f"it took longer than {timeout_s:g} s")
        if self._current is not None:
            self._current.given_up = error
        self.cancel()
        self._failed(error)

    def _done(self, job: Job, outcome: Outcome) -> None:
        if job is not self._current:  # it took too long
            return
        self._current = None
        self._stop_timer()
        if isinstance(outcome, Exception) and not job.is_final:
            self._failed(outcome)
        else:
            self._job.on_done(outcome)

    def _failed(self, error: Exception) -> None:
        if self._num_failed == self._retries or isinstance(error, RequestRejected):
            self._job.on_done(error)
            return
        delay_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2**self._num_failed)
        delay_s *= self._random.uniform(0.5, 1.0)
        self._num_failed += 1
        what = f"{type(error).__name__}: {error}"
        self._on_retry({"error": what, "after_s": round(delay_s, 3)})
        self._timer = asyncio.get_running_loop().call_later(delay_s, self.submit)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def tries_of(
    scheduler: Scheduler,
    job: Job,
    node: Node,
    seed: str,
    on_retry: Callable[[Mapping[str, Any]], None],
) -> Tries:
    """As many tries, and as long ones, as the node says."""
    retries, timeout_s = node.attrs.get("retries", 0), node.attrs.get("timeout_s")
    assert isinstance(retries, int), "the verifier lets only whole numbers pass"
    assert timeout_s is None or isinstance(timeout_s, int | float), "and numbers"
    return Tries(scheduler, job, retries, timeout_s, seed, on_retry)
