"""What waits at one engine, in the order of its policy, as its rate limits let it go."""

from collections.abc import Callable, Sequence
from itertools import count

from backends.base import EngineInfo, Outcome
from backends.errors import PolicyFailed
from backends.policy.base import Policy
from runtime.clock import now
from runtime.job import Job
from runtime.rates.planner import RatePlanner
from runtime.waiting.checked_queue import queue_under
from runtime.waiting.ready_queue import ReadyQueue
from runtime.waiting.service import service_of

BULK_PATIENCE_S = 10.0  # throughput work that has waited so long goes with the rest,
BULK_SPACING_S = 1.0  # but never more of it than a request in this time,
BULK_SHARE = 0.1  # nor more than this of the requests that an API allows


class WaitingJobs:
    """Of one engine. All methods are called on its event loop."""

    def __init__(
        self,
        name: str,
        policy: Policy,
        rates: RatePlanner | None,
        on_refused: Callable[[Job, PolicyFailed], None],
    ) -> None:
        """`on_refused` is told which job fails with the policy, which raised at it."""
        self._name = name
        self._on_refused = on_refused
        self.rates = rates
        self.jobs: dict[str, Job] = {}  # by request id; what is in the queue
        self._queue: ReadyQueue[Job] = queue_under(policy, name, self._refuse)
        self._orders = count()
        self._last_due_s = 0.0
        self.is_heard = False  # a job that came is of a query with a listener

    @property
    def policy(self) -> Policy:
        """What orders them."""
        return self._queue.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._queue = queue_under(policy, self._name, self._refuse)
        for job in list(self.jobs.values()):
            self._queue.put(job)

    @property
    def oldest_s(self) -> float:
        """How long a request waits that waits long."""
        first = next(iter(self.jobs.values()), None)
        return 0.0 if first is None else now() - first.arrival_s

    def put(self, job: Job) -> None:
        """A job arrives."""
        job.order = next(self._orders)
        job.arrival_s = now()
        if job.hint.kind != "latency":
            job.due_s = self._next_due_s()
        self.is_heard = self.is_heard or job.is_heard
        self.jobs[job.request.id] = job
        self._queue.put(job)

    def remove(self, job: Job) -> bool:
        """Forget a job that was cancelled. False if it does not wait."""
        waiting = self.jobs.pop(job.request.id, None)
        if waiting is None:
            return False
        self._queue.remove(waiting)
        self._has_left(waiting)
        return True

    def take(self, max_items: int, now_s: float) -> Sequence[Job]:
        """The next batch; empty if nothing may be sent yet."""
        if self.rates is None:
            batch = self._queue.take(max_items, now_s)
        else:
            batch = self.rates.take(self._queue, max_items, now_s)
        for job in batch:
            del self.jobs[job.request.id]
        return batch

    def takes_back(self, job: Job, outcome: Outcome) -> bool:
        """Whether the API refused it for now: it waits again, in its old place."""
        if self.rates is None or not self.rates.settle(job, outcome):
            return False
        self.jobs[job.request.id] = job
        self._queue.put(job)
        return True

    def served(self, job: Job, outcome: Outcome) -> None:
        """A job ended at the engine: what it was given counts where the policy keeps an account."""
        if self._queue.has_account:
            self._queue.serve(job, service_of(outcome, now() - job.started_s))

    def unsent(self, job: Job) -> None:
        """A job that was taken was cancelled before it was sent."""
        if self.rates is not None:
            self.rates.unsent(job)

    def opened(self, info: EngineInfo) -> None:
        """The engine is loaded: what waited for that is sent only now."""
        if self.rates is not None:
            self.rates.opened(info)

    def close(self) -> None:
        """Wake nobody."""
        if self.rates is not None:
            self.rates.close()

    def clear(self) -> list[Job]:
        """All of them, which wait no longer."""
        left = [*self.jobs.values()]
        self.jobs.clear()
        self._queue = queue_under(self.policy, self._name, self._refuse)
        return left

    def _has_left(self, job: Job) -> None:
        if self.rates is not None:
            self.rates.left(job)

    def _refuse(self, job: Job, error: PolicyFailed) -> None:
        del self.jobs[job.request.id]
        self._has_left(job)
        self._on_refused(job, error)

    def _next_due_s(self) -> float:
        request_s = 0.0 if self.rates is None else self.rates.request_s
        spacing_s = max(BULK_SPACING_S, request_s / BULK_SHARE)
        self._last_due_s = max(now() + BULK_PATIENCE_S, self._last_due_s + spacing_s)
        return self._last_due_s
