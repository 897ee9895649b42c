"""In front of an engine's scheduler: shows each request with its result to a recorder."""

from collections.abc import Callable

from backends.base import Outcome, Request, Result
from runtime.job import Job, Scheduler

Record = Callable[[Request, Result], None]


class RecordedScheduler:
    """One engine's scheduler as a recorded query sees it; remembered results are shown too."""

    def __init__(self, scheduler: Scheduler, record: Record) -> None:
        self._scheduler = scheduler
        self._record = record

    @property
    def name(self) -> str:
        return self._scheduler.name

    @property
    def batch_items(self) -> int:
        return self._scheduler.batch_items

    @property
    def num_slots(self) -> int:
        return self._scheduler.num_slots

    def submit(self, job: Job) -> None:
        """Queue the job; its result is recorded before the query has it."""
        on_done = job.on_done

        def done(outcome: Outcome) -> None:
            if isinstance(outcome, Result):
                self._record(job.request, outcome)
            on_done(outcome)

        job.on_done = done
        self._scheduler.submit(job)

    def cancel(self, job: Job) -> None:
        self._scheduler.cancel(job)
