"""In front of an engine's scheduler: counts what a query computes for use, for its budget."""

from backends.base import Outcome, Result
from graph_opt.ops import OPS
from runtime.clock import now
from runtime.guess_budget import GuessBudget, cost_of
from runtime.job import Job, Scheduler, Started
from runtime.scheduler_layer import SchedulerLayer


class MeteredScheduler(SchedulerLayer[Scheduler]):
    """One engine's scheduler as a query sees it that may guess."""

    def __init__(self, scheduler: Scheduler, budget: GuessBudget) -> None:
        super().__init__(scheduler)
        self._budget = budget

    def submit(self, job: Job) -> None:
        """Queue the job; what its result cost is counted."""
        on_start, on_done = job.on_start, job.on_done
        is_tool = OPS[job.op].engine_kind == "python"
        began_s = now()

        def started(at: Started) -> None:
            nonlocal began_s
            began_s = now()
            on_start(at)

        def done(outcome: Outcome) -> None:
            if isinstance(outcome, Result):
                self._budget.used(cost_of(outcome.usage, now() - began_s if is_tool else 0.0))
            on_done(outcome)

        job.on_start, job.on_done = started, done
        self._scheduler.submit(job)

    def cancel(self, job: Job) -> None:
        """As a scheduler does."""
        self._scheduler.cancel(job)
