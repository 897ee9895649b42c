"""The lower tier: one scheduler for each engine, forming batches over all running queries.

A batch starts as soon as a slot is free; a request never waits for a batch to fill.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from backends.base import Engine, Outcome, Request
from backends.errors import EngineError, EngineUnavailable
from runtime.clock import now
from runtime.cost.batch_load import load_of
from runtime.cost.latency import NOTHING_MEASURED, EngineLatency
from runtime.hints import Hint
from runtime.policy.application_aware import application_aware
from runtime.policy.base import Policy, Ticket

BULK_PATIENCE_S = 10.0  # work in bulk that has waited so long goes with the rest,
BULK_SPACING_S = 1.0  # but never more of it than a request in this time


@dataclass(frozen=True, slots=True)
class Started:
    """Told to a job when its batch starts."""

    engine: str
    batch: int
    batch_size: int  # requests in the batch
    load_s: float  # how long the batch waited for the engine to load


@dataclass(slots=True, eq=False)
class Job:
    """A request with the callbacks of the query that waits for it."""

    request: Request
    query: str
    hint: Hint
    on_start: Callable[[Started], None]
    on_done: Callable[[Outcome], None]
    may_remember: bool = False  # equal requests have equal outcomes: see runtime.memo
    is_cancelled: bool = False


class Scheduler(Protocol):
    """Where queries send the requests for one engine."""

    @property
    def name(self) -> str: ...

    @property
    def batch_items(self) -> int:
        """The most items in a batch."""

    def submit(self, job: Job) -> None:
        """Queue a job; its callbacks are called later, never within."""

    def cancel(self, job: Job) -> None:
        """Forget a waiting job, which gets no outcome, or abort a running one, which may."""


class EngineScheduler:
    """Queues jobs for one engine. All methods are called on the engine's event loop."""

    def __init__(
        self,
        name: str,
        engine: Engine,
        policy: Policy = application_aware,
        latency: EngineLatency | None = None,
    ) -> None:
        self.name = name
        self.engine = engine
        self.latency = latency or EngineLatency(NOTHING_MEASURED)
        self._policy = policy
        self._waiting: dict[str, tuple[Ticket, Job]] = {}  # by request id, in arrival order
        self._running: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._num_started = 0  # batches that went to the engine
        self._orders = count()
        self._batches = count()
        self._started: asyncio.Task[None] | None = None
        self._pump_is_due = False
        self._last_due_s = 0.0

    @property
    def batch_items(self) -> int:
        """The most items in a batch: as many as pay where that was profiled, else all it takes."""
        return self.latency.batch_items(self.engine.info.max_batch_items)

    def submit(self, job: Job) -> None:
        """Queue a job. Jobs submitted in one turn of the loop are batched together."""
        ticket = Ticket(
            order=next(self._orders),
            arrival_s=now(),
            query=job.query,
            hint=job.hint,
            op=job.request.op,
            num_items=job.request.num_items,
            due_s=self._due_s(job.hint),
        )
        self._waiting[job.request.id] = (ticket, job)
        self._pump_soon()

    def _due_s(self, hint: Hint) -> float:
        if hint.kind == "latency":
            return now()
        self._last_due_s = max(now() + BULK_PATIENCE_S, self._last_due_s + BULK_SPACING_S)
        return self._last_due_s

    def warm_up(self) -> None:
        """Begin to load the engine, if nobody did; a failure shows when it is used."""
        self._starting()

    def cancel(self, job: Job) -> None:
        """Forget a waiting job (it gets no outcome) or abort a running one (it gets one)."""
        if self._waiting.pop(job.request.id, None) is None and job.request.id in self._running:
            job.is_cancelled = True
            self.engine.abort(job.request.id)

    async def close(self) -> None:
        """Stop what runs and free the engine."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._started is not None:
            self._started.cancel()
            await asyncio.gather(self._started, return_exceptions=True)
        await self.engine.close()

    def _pump_soon(self) -> None:
        if not self._pump_is_due:
            self._pump_is_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_is_due = False
        num_slots, batch_items = self.engine.info.num_slots, self.batch_items
        while self._waiting and len(self._tasks) < num_slots:
            tickets = [ticket for ticket, _ in self._waiting.values()]
            chosen = {ticket.order for ticket in self._policy(tickets, batch_items, now())}
            assert chosen, "a policy must choose something when anything waits"
            batch = [job for ticket, job in self._waiting.values() if ticket.order in chosen]
            for job in batch:
                del self._waiting[job.request.id]
                self._running[job.request.id] = job
            task = asyncio.get_running_loop().create_task(self._run(batch))
            self._tasks.add(task)
            task.add_done_callback(self._slot_is_free)

    def _slot_is_free(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._waiting:
            self._pump_soon()

    async def _run(self, batch: Sequence[Job]) -> None:
        outcomes: Sequence[Outcome]
        try:
            began_s = now()
            await self._start_engine()
            batch = self._without_cancelled(batch)
            note = Started(self.name, next(self._batches), len(batch), now() - began_s)
            for job in batch:
                job.on_start(note)
            outcomes = await self._execute([job.request for job in batch]) if batch else []
        except asyncio.CancelledError:
            outcomes = [EngineUnavailable(f"engine {self.name!r} was closed")] * len(batch)
        except Exception as error:  # the outcome of each request of this batch
            outcomes = [_as_engine_error(self.name, error)] * len(batch)
        for job, outcome in zip(batch, outcomes, strict=True):
            del self._running[job.request.id]
            job.on_done(outcome)

    def _without_cancelled(self, batch: Sequence[Job]) -> list[Job]:
        """Those that nobody cancelled while the engine loaded; the engine never sees the others."""
        for job in batch:
            if job.is_cancelled:
                del self._running[job.request.id]
        return [job for job in batch if not job.is_cancelled]

    async def _execute(self, requests: Sequence[Request]) -> Sequence[Outcome]:
        began_s, others = now(), len(self._tasks) - 1
        self._num_started += 1
        number = self._num_started
        outcomes = await self.engine.execute(requests)
        was_alone = not others and number == self._num_started
        if was_alone or self.engine.info.kind == "python":  # tools do not slow each other down
            load = load_of(requests, outcomes)
            if load is not None:
                self.latency.observe(load, now() - began_s)
        return outcomes

    async def _start_engine(self) -> None:
        starting = self._starting()
        if not starting.done():
            await asyncio.shield(starting)
        starting.result()

    def _starting(self) -> asyncio.Task[None]:
        """The task that loads the engine; a failed one is tried again."""
        if self._started is None or (self._started.done() and self._started.exception()):
            self._started = asyncio.get_running_loop().create_task(self.engine.start())
            self._started.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._started


def _as_engine_error(name: str, error: Exception) -> Exception:
    if isinstance(error, (EngineError, ValueError)):
        return error
    wrapped = EngineError(f"engine {name!r} broke: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def close_all(schedulers: Mapping[str, EngineScheduler]) -> "asyncio.Future[list[None]]":
    """Close every engine, all at once."""
    return asyncio.gather(*(scheduler.close() for scheduler in schedulers.values()))
