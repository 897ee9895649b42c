"""In front of an engine's scheduler: shows each request with its result to a recorder."""

from collections.abc import Callable

from backends.base import Outcome, Request, Result
from runtime.job import Job, Scheduler
from runtime.scheduler_layer import SchedulerLayer

Record = Callable[[Request, Result], None]


class RecordedScheduler(SchedulerLayer[Scheduler]):
    """One engine's scheduler as a recorded query sees it; remembered results are shown too."""

    def __init__(self, scheduler: Scheduler, record: Record) -> None:
        super().__init__(scheduler)
        self._record = record

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
