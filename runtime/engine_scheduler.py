"""The lower tier: one scheduler for each engine, forming batches over all running queries.

    job ─> WaitingJobs ─> a slot ─> BatchRuns ─> its outcome
             policy, rate limits       the engine

A batch starts as soon as a slot is free; a request never waits for a batch to fill.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from backends.base import Engine, Outcome, Result, Usage
from backends.errors import PolicyFailed, RequestAborted
from backends.policy.application_aware import application_aware
from backends.policy.base import Policy
from backends.service_options import ServiceOptions
from runtime.batch_runs import BatchRuns, closed
from runtime.clock import now
from runtime.cost.latency import NOTHING_MEASURED, EngineLatency
from runtime.job import Job
from runtime.rates.planner import rates_of
from runtime.repeats import Repeats
from runtime.waiting.slot_past import SlotPast
from runtime.waiting.waiting_jobs import WaitingJobs

MAX_STARTS = 32  # batches started in one turn of the loop, so that it is not held for long


class EngineScheduler:
    """Queues jobs for one engine. All methods are called on the engine's event loop.

    A slot of the engine that has work is a task, which runs one batch after another while jobs
    wait.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        policy: Policy = application_aware,
        latency: EngineLatency | None = None,
        on_aborted: Callable[[Usage], None] = lambda _: None,
        service: ServiceOptions | None = None,
    ) -> None:
        """`on_aborted` is told what the engine computed for each job that was cancelled."""
        self.name = name
        self.engine = engine
        self.latency = latency or EngineLatency(NOTHING_MEASURED)
        self.service = service or ServiceOptions()
        self._on_aborted = on_aborted
        rates = rates_of(engine, self._pump_soon)
        waiting = self._waiting = WaitingJobs(name, policy, rates, self._refuse)
        timeout_s = self.service.timeout_s
        self._runs = BatchRuns(name, engine, self.latency, timeout_s, waiting, self._unsent)
        self._runs.order_by(policy)
        retries = 0 if self._runs.info.repeats else self.service.retries
        self._repeats = Repeats(name, retries, self._queue_up)
        self._running: dict[str, Job] = {}
        self._guesses: set[Job] = set()  # of those that run: nobody may ever ask for them
        self._slots: set[asyncio.Task[None]] = set()
        self._num_resting = 0  # slots that are about to look for their next batch
        self._pump_is_due = False
        self._is_closed = False

    @property
    def batch_items(self) -> int:
        """The most items in a batch: as many as pay where that was profiled, else all it takes."""
        return self.latency.batch_items(self._runs.info.max_batch_items)

    @property
    def policy(self) -> Policy:
        """What orders the requests that wait."""
        return self._waiting.policy

    @property
    def num_slots(self) -> int:
        return self._runs.info.num_slots

    @property
    def num_waiting(self) -> int:
        return len(self._waiting.jobs)

    @property
    def max_waiting(self) -> int:
        return self.service.max_waiting

    @property
    def oldest_s(self) -> float:
        """How long a request waits that waits long."""
        return self._waiting.oldest_s

    @property
    def num_jobs(self) -> int:
        return len(self._waiting.jobs) + len(self._running) + self._repeats.num_pausing

    def submit(self, job: Job) -> None:
        """Queue a job. Jobs submitted in one turn of the loop are batched together."""
        if self._is_closed:
            asyncio.get_running_loop().call_soon(job.on_done, closed(self.name))
            return
        self._repeats.begin(job)
        self._queue_up(job)

    def set_policy(self, policy: Policy) -> None:
        """From the next batch on, `policy` orders what waits."""
        if policy is not self.policy:
            self._runs.order_by(policy)
            self._waiting.policy = policy

    def warm_up(self) -> None:
        """Begin to load the engine unless loading has begun; a failure shows when it is used."""
        self._runs.loading.begin()

    async def load(self) -> None:
        """Load the engine, if it is not loaded. Raises what kept it from that."""
        await asyncio.shield(self._runs.loading.begin())

    def cancel(self, job: Job) -> None:
        """Forget a waiting job (it gets no outcome) or abort a running one (it gets one)."""
        self._repeats.cancel(job)
        if self._waiting.remove(job):
            return
        running = self._running.get(job.request.id)
        if running is not None:
            running.is_cancelled = True
            self._guesses.discard(running)
            self.engine.abort(job.request.id)

    async def close(self) -> None:
        """Stop what runs and free the engine; every job ends with an error, also later ones."""
        self._is_closed = True
        self._waiting.close()
        for slot in self._slots:
            slot.cancel()
        await asyncio.gather(*self._slots, return_exceptions=True)
        await self._runs.loading.stop()
        await self.engine.close()
        left = [*self._running.values(), *self._waiting.clear(), *self._repeats.close()]
        self._running.clear()
        for job in left:
            job.on_done(closed(self.name))

    def _queue_up(self, job: Job) -> None:
        self._waiting.put(job)
        if self._guesses and not job.place.is_guess:
            self._stop_guesses()
        if not self._num_resting:
            self._pump_soon()

    def _stop_guesses(self) -> None:
        """What somebody waits for would have no slot."""
        if self._runs.loading.is_done and len(self._slots) >= self.num_slots:
            for guess in [job for job in self._guesses if job.place.is_guess]:
                self.cancel(guess)

    def _refuse(self, job: Job, error: PolicyFailed) -> None:
        """The policy raised at a job that waits."""
        asyncio.get_running_loop().call_soon(job.on_done, self._repeats.checked(job, error))

    def _unsent(self, job: Job) -> None:
        """It was cancelled while the engine loaded."""
        del self._running[job.request.id]
        self._waiting.unsent(job)

    def _pump_soon(self) -> None:
        if not self._pump_is_due and len(self._slots) < self.num_slots:
            self._pump_is_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Give work to free slots, some in each turn of the loop."""
        self._pump_is_due = False
        for _ in range(MAX_STARTS):
            if not self._waiting.jobs or self._is_closed or len(self._slots) >= self.num_slots:
                return
            batch = self._next_batch()
            if not batch:
                return
            slot = asyncio.get_running_loop().create_task(self._serve(batch))
            self._slots.add(slot)
        self._pump_soon()

    def _next_batch(self) -> Sequence[Job]:
        now_s = now()
        batch = self._waiting.take(self.batch_items, now_s)
        for job in batch:
            self._running[job.request.id] = job
            job.started_s = now_s
            if job.place.is_guess:
                self._guesses.add(job)
        return batch

    async def _serve(self, batch: Sequence[Job]) -> None:
        """One slot of the engine: runs this batch, and then others while jobs wait."""
        slot = asyncio.current_task()
        assert slot is not None, "a slot is a task"
        past = SlotPast()
        try:
            while batch and not slot.cancelling():
                done = await self._runs.run(batch, past)
                if self._waiting.rates is not None:
                    done = self._settled(done)
                self._num_resting += 1
                try:
                    self._give(done)
                    if self._waiting.jobs:  # with all else that comes in this turn of the loop
                        await asyncio.sleep(0)
                finally:
                    self._num_resting -= 1
                batch = self._next_batch() if self._waiting.jobs else ()
                if self._waiting.jobs:
                    self._pump_soon()
        finally:
            self._slots.discard(slot)
            if self._waiting.jobs:
                self._pump_soon()

    def _settled(self, done: Iterable[tuple[Job, Outcome]]) -> list[tuple[Job, Outcome]]:
        """Those that ended; the others were refused for now, and wait again."""
        ended = []
        for job, outcome in done:
            if self._waiting.takes_back(job, outcome):
                del self._running[job.request.id]
            else:
                ended.append((job, outcome))
        return ended

    def _give(self, done: Iterable[tuple[Job, Outcome]]) -> None:
        for job, outcome in done:
            del self._running[job.request.id]
            self._guesses.discard(job)
            self._waiting.served(job, outcome)
            if job.is_cancelled and isinstance(outcome, (Result, RequestAborted)):
                self._on_aborted(outcome.usage)
            has_failed = isinstance(outcome, Exception)
            if not (has_failed and self._is_open and self._repeats.takes(job, outcome)):
                _tell(job, self._repeats.checked(job, outcome))

    @property
    def _is_open(self) -> bool:
        """Whether it was loaded, and not closed: what fails then may do better soon."""
        return self._runs.loading.is_done and not self._is_closed


def _tell(job: Job, outcome: Outcome) -> None:
    """What breaks at an outcome is said as of a callback: others of the batch get theirs."""
    try:
        job.on_done(outcome)
    except Exception as error:
        said = {"message": f"the outcome of {job.request.op} was not taken", "exception": error}
        asyncio.get_running_loop().call_exception_handler(said)
