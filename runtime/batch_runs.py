"""Runs batches at one engine: loads it first, keeps its time limit, learns how long batches take.

Every job gets an outcome, whatever fails.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import count

from backends.base import Engine, EngineInfo, Outcome, Request, Result
from backends.errors import EngineBroken, EngineError, EngineUnavailable
from backends.policy.base import OrdersSteps, Policy
from runtime.circuit import Circuit, Probe
from runtime.clock import now
from runtime.cost.batch_load import loads_of
from runtime.cost.latency import EngineLatency
from runtime.job import Job, Started
from runtime.loading import Loading
from runtime.priority_numbers import requests_for
from runtime.time_limit import execute_within
from runtime.waiting.slot_past import SlotPast
from runtime.waiting.waiting_jobs import WaitingJobs

LEARN_EACH_S = 0.001  # batches that end sooner after one another teach nothing new


class BatchRuns:
    """Of one engine. All methods are called on its event loop."""

    def __init__(
        self,
        name: str,
        engine: Engine,
        latency: EngineLatency,
        timeout_s: float | None,
        waiting: WaitingJobs,
        on_unsent: Callable[[Job], None],
    ) -> None:
        """`waiting` are told to what starts; `on_unsent` of a job that was cancelled before it was
        sent, which gets no outcome."""
        self.info: EngineInfo = engine.info
        self.loading = Loading(engine)
        self._name = name
        self._engine = engine
        self._latency = latency
        self._timeout_s = timeout_s
        self._waiting = waiting
        self._on_unsent = on_unsent
        self._circuit = Circuit(name, engine) if self.info.repeats else None
        # Asked once: whether an engine fits a protocol takes microseconds.
        self._orders_steps = engine if isinstance(engine, OrdersSteps) else None
        self._numbers = count()
        self._num_executing = 0  # batches that are at the engine
        self._num_executed = 0  # and that ever were
        self._learns_from_s = 0.0

    def order_by(self, policy: Policy) -> None:
        """Where the engine orders its steps, it goes by this."""
        if self._orders_steps is not None:
            self._orders_steps.order_by(policy)

    async def run(self, batch: Sequence[Job], past: SlotPast) -> Iterable[tuple[Job, Outcome]]:
        """The outcomes of a batch, on a slot with this past. Raises nothing."""
        outcomes: Sequence[Outcome] = ()
        probe: Probe | None = None
        circuit, waiting = self._circuit, self._waiting
        if circuit is not None and self.loading.is_done and not circuit.asks(batch):
            circuit = None
        try:
            if circuit is not None:
                probe = await circuit.enter()
            if not self.loading.is_done:
                await self._load()
            batch = self._without_cancelled(batch)
            self._tell_start(batch, past)
            if batch:
                began_s = now() if waiting.is_heard else 0.0
                outcomes = await self._execute(batch)
                if waiting.is_heard:
                    past.ran(batch, waiting.policy, began_s, now())
        except asyncio.CancelledError as error:
            outcomes = [self._cancelled(error)] * len(batch)
        except Exception as error:  # the outcome of each request of this batch
            outcomes = [_as_engine_error(self._name, error)] * len(batch)
        if circuit is not None:
            circuit.leave(_of_the_engine(batch, outcomes), probe)
        return zip(batch, outcomes, strict=True)

    async def _load(self) -> None:
        """Load the engine, or wait until it is loaded."""
        await self.loading.wait()
        self.info = self._engine.info
        self._waiting.opened(self.info)

    def _without_cancelled(self, batch: Sequence[Job]) -> Sequence[Job]:
        """Those not cancelled while the engine loaded; the engine never sees the others."""
        left = [job for job in batch if not job.is_cancelled]
        for job in batch if len(left) < len(batch) else ():
            if job.is_cancelled:
                self._on_unsent(job)
        return left

    def _tell_start(self, batch: Sequence[Job], past: SlotPast) -> None:
        waited_s = self.loading.done_s - batch[0].arrival_s if batch else 0.0
        load_s = max(0.0, waited_s)
        policy, number = self._waiting.policy, next(self._numbers)
        started = Started(number, len(batch), load_s, policy.name, len(self._waiting.jobs))
        for job in batch:
            job.on_start(past.told(started, job, policy) if job.is_heard else started)

    async def _execute(self, batch: Sequence[Job]) -> Sequence[Outcome]:
        by_place = self._orders_steps is not None
        requests = requests_for(self.info, self._waiting.policy, batch, by_place=by_place)
        began_s, others = now(), self._num_executing
        self._num_executing += 1
        self._num_executed += 1
        number = self._num_executed
        outcomes: Sequence[Outcome]
        try:
            if self._timeout_s is None:
                outcomes = await self._engine.execute(requests)
            else:
                outcomes = await execute_within(self._engine, self._name, requests, self._timeout_s)
        finally:
            self._num_executing -= 1
        was_alone = not others and number == self._num_executed
        if was_alone or self.info.kind == "python":  # tools do not slow each other down
            self._learn(requests, outcomes, began_s)
        return outcomes

    def _learn(
        self, requests: Sequence[Request], outcomes: Sequence[Outcome], began_s: float
    ) -> None:
        now_s = now()
        if now_s < self._learns_from_s:
            return
        self._learns_from_s = now_s + LEARN_EACH_S
        self._latency.observe(loads_of(requests, outcomes), now_s - began_s)

    def _cancelled(self, error: asyncio.CancelledError) -> Exception:
        """The outcome where the slot is stopped, or the engine cancels something of its own."""
        slot = asyncio.current_task()
        is_stopped = slot is not None and slot.cancelling()
        return closed(self._name) if is_stopped else _as_engine_error(self._name, error)


def closed(name: str) -> Exception:
    """The outcome of jobs whose engine was closed."""
    return EngineUnavailable(f"engine {name!r} was closed")


def _as_engine_error(name: str, error: BaseException) -> Exception:
    if isinstance(error, (EngineError, ValueError)):
        return error
    wrapped = EngineBroken(f"engine {name!r} broke: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def _of_the_engine(batch: Sequence[Job], outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """Without what ended because its caller gave it up."""
    pairs = zip(batch, outcomes, strict=True)
    return [out for job, out in pairs if not job.is_cancelled or isinstance(out, Result)]
