"""The lower tier: one scheduler for each engine, forming batches over all running queries.

A batch starts as soon as a slot is free; a request never waits for a batch to fill.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count

from backends.base import Engine, Outcome, Request, Result, Usage
from backends.errors import (
    EngineBroken,
    EngineError,
    EngineUnavailable,
    PolicyFailed,
    RequestAborted,
)
from backends.policy.application_aware import application_aware
from backends.policy.base import OrdersSteps, Policy
from backends.rate_limits import ReportsRates
from backends.service_options import ServiceOptions
from runtime.circuit import Circuit, Probe
from runtime.clock import now
from runtime.cost.batch_load import loads_of
from runtime.cost.latency import NOTHING_MEASURED, EngineLatency
from runtime.job import Job, Started
from runtime.loading import Loading
from runtime.priority_numbers import requests_for
from runtime.rates.planner import RatePlanner
from runtime.repeats import Repeats
from runtime.time_limit import execute_within
from runtime.waiting.checked_queue import queue_under
from runtime.waiting.ready_queue import ReadyQueue
from runtime.waiting.service import service_of
from runtime.waiting.slot_past import SlotPast

BULK_PATIENCE_S = 10.0  # throughput work that has waited so long goes with the rest,
BULK_SPACING_S = 1.0  # but never more of it than a request in this time,
BULK_SHARE = 0.1  # nor more than this of the requests that an API allows
LEARN_EACH_S = 0.001  # batches that end sooner after one another teach nothing new
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
        self._on_aborted = on_aborted
        self._info = engine.info
        self._rates = self._open_rates()
        self.service = service or ServiceOptions()
        retries = 0 if self._info.repeats else self.service.retries
        self._repeats = Repeats(name, retries, self._queue_up)
        self._circuit = Circuit(name, engine) if self._info.repeats else None
        # Asked once: whether an engine fits a protocol takes microseconds.
        self._orders_steps = engine if isinstance(engine, OrdersSteps) else None
        if self._orders_steps is not None:
            self._orders_steps.order_by(policy)
        self._queue: ReadyQueue[Job] = queue_under(policy, name, self._refuse)
        self._waiting: dict[str, Job] = {}  # by request id; what is in the queue
        self._running: dict[str, Job] = {}
        self._guesses: set[Job] = set()  # of those that run: nobody may ever ask for them
        self._slots: set[asyncio.Task[None]] = set()
        self._num_resting = 0  # slots that are about to look for their next batch
        self._num_executing = 0  # batches that are at the engine
        self._num_executed = 0  # and that ever were
        self._orders = count()
        self._batches = count()
        self._loading = Loading(engine)
        self._is_heard = False  # a job that came is of a query with a listener
        self._pump_is_due = False
        self._is_closed = False
        self._last_due_s = 0.0
        self._learns_from_s = 0.0

    @property
    def batch_items(self) -> int:
        """The most items in a batch: as many as pay where that was profiled, else all it takes."""
        return self.latency.batch_items(self._info.max_batch_items)

    @property
    def policy(self) -> Policy:
        """What orders the requests that wait."""
        return self._queue.policy

    @property
    def num_slots(self) -> int:
        return self._info.num_slots

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def max_waiting(self) -> int:
        return self.service.max_waiting

    @property
    def oldest_s(self) -> float:
        """How long a request waits that waits long."""
        first = next(iter(self._waiting.values()), None)
        return 0.0 if first is None else now() - first.arrival_s

    @property
    def _is_open(self) -> bool:
        """Whether it was loaded, and not closed: what fails then may do better soon."""
        return self._loading.is_done and not self._is_closed

    @property
    def num_jobs(self) -> int:
        return len(self._waiting) + len(self._running) + self._repeats.num_pausing

    def submit(self, job: Job) -> None:
        """Queue a job. Jobs submitted in one turn of the loop are batched together."""
        if self._is_closed:
            asyncio.get_running_loop().call_soon(job.on_done, _closed(self.name))
            return
        self._repeats.begin(job)
        self._queue_up(job)

    def _queue_up(self, job: Job) -> None:
        job.order = next(self._orders)
        job.arrival_s = now()
        if job.hint.kind != "latency":
            job.due_s = self._next_due_s()
        self._waiting[job.request.id] = job
        self._is_heard = self._is_heard or job.is_heard
        self._queue.put(job)
        if self._guesses and not job.place.is_guess:
            self._stop_guesses()
        if not self._num_resting:
            self._pump_soon()

    def _stop_guesses(self) -> None:
        """What somebody waits for would have no slot."""
        if self._loading.is_done and len(self._slots) >= self.num_slots:
            for guess in [job for job in self._guesses if job.place.is_guess]:
                self.cancel(guess)

    def set_policy(self, policy: Policy) -> None:
        """From the next batch on, `policy` orders what waits."""
        if policy is self._queue.policy:
            return
        if self._orders_steps is not None:
            self._orders_steps.order_by(policy)
        self._queue = queue_under(policy, self.name, self._refuse)
        for job in list(self._waiting.values()):
            self._queue.put(job)

    def _refuse(self, job: Job, error: PolicyFailed) -> None:
        """The policy raised at a job that waits."""
        del self._waiting[job.request.id]
        if self._rates is not None:
            self._rates.left(job)
        asyncio.get_running_loop().call_soon(job.on_done, self._repeats.checked(job, error))

    def _next_due_s(self) -> float:
        request_s = 0.0 if self._rates is None else self._rates.request_s
        spacing_s = max(BULK_SPACING_S, request_s / BULK_SHARE)
        self._last_due_s = max(now() + BULK_PATIENCE_S, self._last_due_s + spacing_s)
        return self._last_due_s

    def warm_up(self) -> None:
        """Begin to load the engine unless loading has begun; a failure shows when it is used."""
        self._loading.begin()

    async def load(self) -> None:
        """Load the engine, if it is not loaded. Raises what kept it from that."""
        await asyncio.shield(self._loading.begin())

    def cancel(self, job: Job) -> None:
        """Forget a waiting job (it gets no outcome) or abort a running one (it gets one)."""
        self._repeats.cancel(job)
        waiting = self._waiting.pop(job.request.id, None)
        running = self._running.get(job.request.id)
        if waiting is not None:
            self._queue.remove(waiting)
            if self._rates is not None:
                self._rates.left(waiting)
        elif running is not None:
            running.is_cancelled = True
            self._guesses.discard(running)
            self.engine.abort(job.request.id)

    async def close(self) -> None:
        """Stop what runs and free the engine; every job ends with an error, also later ones."""
        self._is_closed = True
        if self._rates is not None:
            self._rates.close()
        for slot in self._slots:
            slot.cancel()
        await asyncio.gather(*self._slots, return_exceptions=True)
        await self._loading.stop()
        await self.engine.close()
        left = [*self._running.values(), *self._waiting.values(), *self._repeats.close()]
        self._running.clear()
        self._waiting.clear()
        self._queue = queue_under(self._queue.policy, self.name, self._refuse)
        for job in left:
            job.on_done(_closed(self.name))

    def _open_rates(self) -> RatePlanner | None:
        """A plan where the engine states rate limits, or tells what its API says of them."""
        if isinstance(self.engine, ReportsRates):
            rates = RatePlanner(self._info, self._pump_soon)
            self.engine.watch_rates(rates.told)
            return rates
        if self._info.rate_limits is not None:
            return RatePlanner(self._info, self._pump_soon)
        return None

    def _pump_soon(self) -> None:
        if not self._pump_is_due and len(self._slots) < self.num_slots:
            self._pump_is_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Give work to free slots, some in each turn of the loop."""
        self._pump_is_due = False
        for _ in range(MAX_STARTS):
            if not self._waiting or self._is_closed or len(self._slots) >= self.num_slots:
                return
            batch = self._next_batch()
            if not batch:
                return
            slot = asyncio.get_running_loop().create_task(self._serve(batch))
            self._slots.add(slot)
        self._pump_soon()

    def _next_batch(self) -> Sequence[Job]:
        now_s = now()
        if self._rates is None:
            batch = self._queue.take(self.batch_items, now_s)
        else:
            batch = self._rates.take(self._queue, self.batch_items, now_s)
        for job in batch:
            del self._waiting[job.request.id]
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
                done = await self._run(batch, past)
                if self._rates is not None:
                    done = self._settled(done, self._rates)
                self._num_resting += 1
                try:
                    self._give(done)
                    if self._waiting:  # with all else that comes in this turn of the loop
                        await asyncio.sleep(0)
                finally:
                    self._num_resting -= 1
                batch = self._next_batch() if self._waiting else ()
                if self._waiting:
                    self._pump_soon()
        finally:
            self._slots.discard(slot)
            if self._waiting:
                self._pump_soon()

    def _give(self, done: Iterable[tuple[Job, Outcome]]) -> None:
        now_s = now() if self._queue.has_account else 0.0
        for job, outcome in done:
            del self._running[job.request.id]
            self._guesses.discard(job)
            if self._queue.has_account:
                self._queue.serve(job, service_of(outcome, now_s - job.started_s))
            if job.is_cancelled and isinstance(outcome, (Result, RequestAborted)):
                self._on_aborted(outcome.usage)
            has_failed = isinstance(outcome, Exception)
            if not (has_failed and self._is_open and self._repeats.takes(job, outcome)):
                _tell(job, self._repeats.checked(job, outcome))

    def _settled(
        self, done: Iterable[tuple[Job, Outcome]], rates: RatePlanner
    ) -> list[tuple[Job, Outcome]]:
        """Those that ended; the others were refused for now, and wait again in their old place."""
        ended = []
        for job, outcome in done:
            if rates.settle(job, outcome):
                del self._running[job.request.id]
                self._waiting[job.request.id] = job
                self._queue.put(job)
            else:
                ended.append((job, outcome))
        return ended

    async def _run(self, batch: Sequence[Job], past: SlotPast) -> Iterable[tuple[Job, Outcome]]:
        outcomes: Sequence[Outcome] = ()
        probe: Probe | None = None
        circuit = self._circuit
        if circuit is not None and self._loading.is_done and not circuit.asks(batch):
            circuit = None
        try:
            if circuit is not None:
                probe = await circuit.enter()
            load_s = 0.0 if self._loading.is_done else await self._load()
            batch = self._without_cancelled(batch)
            self._tell_start(batch, load_s, past)
            if batch:
                began_s = now() if self._is_heard else 0.0
                by_place = self._orders_steps is not None
                sent = requests_for(self._info, self._queue.policy, batch, by_place=by_place)
                outcomes = await self._execute(sent)
                if self._is_heard:
                    past.ran(batch, self._queue.policy, began_s, now())
        except asyncio.CancelledError as error:
            slot = asyncio.current_task()
            is_stopped = self._is_closed or (slot is not None and slot.cancelling())
            failure = _closed(self.name) if is_stopped else _as_engine_error(self.name, error)
            outcomes = [failure] * len(batch)
        except Exception as error:  # the outcome of each request of this batch
            outcomes = [_as_engine_error(self.name, error)] * len(batch)
        if circuit is not None:
            circuit.leave(_of_the_engine(batch, outcomes), probe)
        return zip(batch, outcomes, strict=True)

    def _tell_start(self, batch: Sequence[Job], load_s: float, past: SlotPast) -> None:
        policy, number = self._queue.policy, next(self._batches)
        started = Started(number, len(batch), load_s, policy.name, len(self._waiting))
        for job in batch:
            job.on_start(past.told(started, job, policy) if job.is_heard else started)

    def _without_cancelled(self, batch: Sequence[Job]) -> Sequence[Job]:
        """Those not cancelled while the engine loaded; the engine never sees the others."""
        left = [job for job in batch if not job.is_cancelled]
        for job in batch if len(left) < len(batch) else ():
            if job.is_cancelled:
                del self._running[job.request.id]
                if self._rates is not None:
                    self._rates.unsent(job)
        return left

    async def _execute(self, requests: Sequence[Request]) -> Sequence[Outcome]:
        began_s, others = now(), self._num_executing
        self._num_executing += 1
        self._num_executed += 1
        number = self._num_executed
        outcomes: Sequence[Outcome]
        try:
            if self.service.timeout_s is None:
                outcomes = await self.engine.execute(requests)
            else:
                outcomes = await execute_within(
                    self.engine, self.name, requests, self.service.timeout_s
                )
        finally:
            self._num_executing -= 1
        was_alone = not others and number == self._num_executed
        if was_alone or self._info.kind == "python":  # tools do not slow each other down
            self._learn(requests, outcomes, began_s)
        return outcomes

    def _learn(
        self, requests: Sequence[Request], outcomes: Sequence[Outcome], began_s: float
    ) -> None:
        now_s = now()
        if now_s < self._learns_from_s:
            return
        self._learns_from_s = now_s + LEARN_EACH_S
        self.latency.observe(loads_of(requests, outcomes), now_s - began_s)

    async def _load(self) -> float:
        """Load the engine, or wait until it is loaded; the seconds that this took."""
        began_s = now()
        await self._loading.wait()
        self._info = self.engine.info
        if self._rates is not None:
            self._rates.opened(self._info)
        return now() - began_s


def _tell(job: Job, outcome: Outcome) -> None:
    """What breaks at an outcome is said as of a callback: others of the batch get theirs."""
    try:
        job.on_done(outcome)
    except Exception as error:
        said = {"message": f"the outcome of {job.request.op} was not taken", "exception": error}
        asyncio.get_running_loop().call_exception_handler(said)


def _closed(name: str) -> Exception:
    return EngineUnavailable(f"engine {name!r} was closed")


def _as_engine_error(name: str, error: BaseException) -> Exception:
    if isinstance(error, (EngineError, ValueError)):
        return error
    wrapped = EngineBroken(f"engine {name!r} broke: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def close_all(schedulers: Mapping[str, EngineScheduler]) -> "asyncio.Future[list[None]]":
    """Close every engine, all at once."""
    return asyncio.gather(*(scheduler.close() for scheduler in schedulers.values()))


def _of_the_engine(batch: Sequence[Job], outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """Without what ended because its caller gave it up."""
    pairs = zip(batch, outcomes, strict=True)
    return [out for job, out in pairs if not job.is_cancelled or isinstance(out, Result)]
