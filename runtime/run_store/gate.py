"""In front of an engine's gates: answers what the run finished before, and keeps what it finishes.

An effect waits until the disk says that it begins, and its result until the disk has it. All else
goes on at once and is written with the next effect, or soon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from backends.base import Outcome, Request, Result
from backends.errors import EngineError, RequestAborted, RequestRejected
from backends.registry import EngineSpec
from graph_opt.graph import Node
from graph_opt.ops import OPS
from runtime.dispatch import new_request_id
from runtime.errors import RunDiverged, RunError, RunStoreFailed
from runtime.job import Job, Scheduler
from runtime.memo.aside import aside, is_large
from runtime.run_store.database import RunDatabase
from runtime.run_store.kept_errors import decode_error, encode_error
from runtime.run_store.kinds import Kind, kind_of, may_run_again
from runtime.run_store.outcomes import Kept, decode_result, encode_result
from runtime.run_store.restored import RestoredContext, Step
from runtime.run_store.rows import NodeRow, NodeState
from runtime.run_store.stored_run import RunPart, Work
from runtime.run_store.values import NotStorable, encode
from runtime.scheduler_layer import SchedulerLayer
from runtime.scope import release


class StoringScheduler(SchedulerLayer[Scheduler]):
    """One engine's scheduler as the queries of a stored run see it."""

    def __init__(
        self,
        scheduler: Scheduler,
        part: RunPart,
        name: str,
        engines: Mapping[str, EngineSpec],
        *,
        is_volatile: bool = False,
    ) -> None:
        """The engine of that name, of those of the query. What was written to a volatile one is
        gone with the process, so it is done again."""
        super().__init__(scheduler)
        self._engine = part.engine(name, engines[name])
        self._engines = engines
        self._part = part
        self._run = part.run
        self._is_volatile = is_volatile
        self._held: set[str] = set()  # ids of requests that wait for the store, or for a context
        self._works: dict[str, Work] = {}  # by id, of those that run
        self._effects: set[str] = set()  # those of tools that run
        self._stopped: set[str] = set()  # those that were cancelled while they ran

    def submit(self, job: Job) -> None:
        """Answer the job from the store, or run and keep it."""
        node = job.node
        if node is None:
            self._submit_aside(job)
            return
        if self._run.broken is not None:
            _soon(job.on_done, self._run.broken)
            return
        kind = kind_of(node)
        if kind is Kind.WRITES and self._is_volatile:
            self._send(job)
            return
        self._held.add(job.request.id)
        if is_large(job.request.inputs):
            aside(lambda: self._work(job, node, kind), partial(self._found_work, job, node))
        else:
            self._found_work(job, node, self._work(job, node, kind))

    def cancel(self, job: Job) -> None:
        if job.request.id in self._held:
            self._held.discard(job.request.id)
        else:
            self._stopped.add(job.request.id)
            self._effect_ends(job.request.id)
            self._scheduler.cancel(job)
        work = self._works.get(job.request.id)
        if work is not None and job.given_up is not None:
            del self._works[job.request.id]
            self._fail(job, work, job.given_up)

    def _effect_ends(self, request_id: str) -> None:
        if request_id in self._effects:
            self._effects.discard(request_id)
            self._run.effect_ends()

    def _submit_aside(self, job: Job) -> None:
        """What nobody waits for: with a context that is not there it is not worth it."""
        if any(isinstance(value, RestoredContext) for value in job.request.inputs):
            _soon(job.on_done, EngineError("nothing is computed ahead in what is repeated"))
        else:
            self._scheduler.submit(job)

    def _work(self, job: Job, node: Node, kind: Kind) -> Work:
        pure, asks = kind is Kind.PURE, kind is Kind.ASKS
        name, place = str(node.attrs.get("fn", node.op)), self._part.place + job.path
        engines = self._asked(node, kind)
        content = self._run.contents.of(job.request, engines, place, with_code=pure, is_asked=asks)
        return Work(kind, place, node.op, name, content)

    def _asked(self, node: Node, kind: Kind) -> Sequence[str]:
        """Which engines do the work: of an app inside the query those that it may ask."""
        if OPS[node.op].engine_kind != "python":
            return [self._engine]
        if kind is not Kind.NESTED or not self._run.knows_engines:
            return ()
        names: Any = node.attrs["engines"]
        return [self._part.engine(name, self._engines[name]) for name in names]

    def _found_work(self, job: Job, node: Node, work: Work) -> None:
        if job.request.id not in self._held:  # it was cancelled
            return
        if not work.content and not work.kind.is_committed:
            self._send(job)
            return
        try:
            row = self._run.take(work)
        except RunDiverged as error:
            self._tell_soon(job, error)
            return
        if row is None or row.state in (NodeState.BEGUN, NodeState.UNKEPT, NodeState.WAITING):
            self._begin(job, node, work, row)
        elif row.value:
            loop = asyncio.get_running_loop()
            loop.call_soon(self._answer, job, node, work, row, lambda: row.value)
        else:
            reading = self._run.writer.do(partial(_value_of, self._run.id, row))
            future = asyncio.wrap_future(reading)
            future.add_done_callback(lambda read: self._answer(job, node, work, row, read.result))

    def _answer(
        self, job: Job, node: Node, work: Work, row: NodeRow, read: Callable[[], bytes]
    ) -> None:
        if job.request.id not in self._held:
            return
        try:
            value = read()
            if row.key != work.key:  # it stood elsewhere
                self._run.move(row, work, value)
            if row.state is NodeState.FAILED:
                self._tell_again(job, work, decode_error(value))
            else:
                self._restore(job, work, decode_result(value))
        except RunStoreFailed as error:
            self._tell(job, error)
        except Exception:  # damaged, or of a class that is gone or cannot be made
            self._begin(job, node, work, replace(row, state=NodeState.UNKEPT))

    def _restore(self, job: Job, work: Work, kept: Kept) -> None:
        request = job.request
        result = kept.restored(request, self._run.contents)
        if result is not None:
            self._tell_again(job, work, result)
            return

        def made(outcome: Outcome) -> None:  # behind a context that is here
            if isinstance(outcome, Result):
                outcome = kept.result(request, outcome.outputs)
            self._tell_again(job, work, outcome)

        (step,) = kept.steps(request)[:1]
        self._prefill(job, request.inputs[0], step, made)

    def _tell_again(self, job: Job, work: Work, outcome: Outcome) -> None:
        self._run.num_restored += 1
        job.is_final = True
        self._note(job, work, outcome)
        if job.request.emit is not None and isinstance(outcome, Result):
            job.request.emit(str(outcome.outputs[0]))
        self._tell(job, outcome)

    def _begin(self, job: Job, node: Node, work: Work, row: NodeRow | None) -> None:
        """Run it, for the first time or again."""
        if work.kind is Kind.EFFECT and row is not None and not may_run_again(node):
            if self._run.in_doubt == "stop":
                self._tell_soon(job, self._run.doubt(work, row))
                return
            if self._run.in_doubt == "skip":
                self._ended(job, work, Result((None,)))
                return
        if work.kind.is_effect:
            asks = work.kind is Kind.ASKS
            state = NodeState.WAITING if asks else NodeState.BEGUN
            value = _question(job.request, node.attrs) if asks else b""
            self._run.commit(work, state, value, lambda failure: self._begun(job, work, failure))
        else:
            self._run_kept(job, work)

    def _begun(self, job: Job, work: Work, failure: RunStoreFailed | None) -> None:
        if job.request.id not in self._held:
            self._run.drop(work.key)  # nobody wants it: it never began
        elif failure is not None:
            self._tell(job, failure)
        else:
            self._run_kept(job, work)

    def _run_kept(self, job: Job, work: Work) -> None:
        self._run.num_run += 1
        on_done = job.on_done

        def done(outcome: Outcome) -> None:
            job.on_done = on_done
            is_stopped = job.request.id in self._stopped
            self._stopped.discard(job.request.id)
            if is_stopped and (isinstance(outcome, Exception) or job.given_up is not None):
                on_done(outcome)  # which says nothing of what became of it, or too late
                return
            self._held.add(job.request.id)
            self._effect_ends(job.request.id)
            self._ended(job, work, outcome)

        job.on_done = done
        self._works[job.request.id] = work
        if work.kind is Kind.EFFECT:
            self._effects.add(job.request.id)
            self._run.effect_begins()
        self._send(job)

    def _ended(self, job: Job, work: Work, outcome: Outcome) -> None:
        if isinstance(outcome, Exception):
            self._failed(job, work, outcome)
            return
        self._note(job, work, outcome)
        if is_large(outcome.outputs):
            kept = outcome
            aside(lambda: _encoded(kept), lambda value: self._keep(job, work, kept, value))
        else:
            self._keep(job, work, outcome, _encoded(outcome))

    def _keep(self, job: Job, work: Work, result: Result, value: bytes | None) -> None:
        state = NodeState.DONE if value is not None else NodeState.UNKEPT
        if work.kind.is_committed and work.kind is not Kind.NESTED:
            self._run.commit(
                work, state, value or b"", lambda failure: self._tell(job, failure or result)
            )
            return
        if value is not None:
            self._run.put(work, state, value)
        self._tell(job, result)

    def _failed(self, job: Job, work: Work, error: Exception) -> None:
        if work.kind is Kind.ASKS:  # nobody answered: it goes on waiting
            if getattr(error, "ends_run", False):
                self._run.broken = error
            self._run.when_no_effects(lambda: self._tell(job, error))
            return
        self._fail(job, work, error)
        self._tell(job, error)

    def _fail(self, job: Job, work: Work, error: Exception) -> None:
        """What the program has of it from now on; nothing, where it is tried again."""
        if job.has_tries_left and not isinstance(error, RequestRejected):
            return
        self._note(job, work, error)
        if not isinstance(error, RequestAborted) and work.kind is not Kind.NESTED:
            self._run.put(work, NodeState.FAILED, encode_error(error))

    def _note(self, job: Job, work: Work, outcome: Outcome) -> None:
        if isinstance(outcome, Exception):
            self._run.note_failure(outcome, work)
        else:
            self._run.contents.note(job.request, outcome.outputs)
            if OPS[work.op].writes_text and isinstance(outcome.outputs[0], str):
                self._run.note_text(outcome.outputs[0], work)

    def _send(self, job: Job) -> None:
        """To the engine, with a real context."""
        first = job.request.inputs[0] if job.request.inputs else None
        if not isinstance(first, RestoredContext):
            self._held.discard(job.request.id)
            self._scheduler.submit(job)
            return
        self._held.add(job.request.id)

        def made(outcome: Outcome) -> None:
            if job.request.id not in self._held:
                return
            if isinstance(outcome, Exception):
                self._tell(job, outcome)
                return
            self._held.discard(job.request.id)
            given = (*outcome.outputs[:1], *job.request.inputs[1:])
            on_done, before = job.on_done, job.request

            def done(outcome: Outcome) -> None:
                job.request = before  # by whose content it is known
                on_done(outcome)

            job.on_done = done
            job.request = replace(job.request, inputs=given)
            self._scheduler.submit(job)

        first.make(partial(self._prefill, job), made)

    def _prefill(self, job: Job, before: Any, step: Step, then: Callable[[Outcome], None]) -> None:
        inputs = (before, *step.parts)
        request = Request(new_request_id(), "prefill", inputs, step.attrs)
        made = Job(request, job.place.query, job.hint, lambda _: None, then, caller=job.caller)
        self._scheduler.submit(made)

    def _tell_soon(self, job: Job, outcome: Outcome) -> None:
        asyncio.get_running_loop().call_soon(self._tell, job, outcome)

    def _tell(self, job: Job, outcome: Outcome) -> None:
        if isinstance(outcome, RunError):
            self._run.broken = outcome
            job.is_final = True
        self._works.pop(job.request.id, None)
        if job.request.id in self._held:
            self._held.discard(job.request.id)
            job.on_done(outcome)
        elif isinstance(outcome, Result):
            _release(outcome)


def _value_of(run_id: str, row: NodeRow, database: RunDatabase) -> bytes:
    value = database.value(run_id, row.key)
    if value is None:
        raise NotStorable("it is damaged")
    return value


def _encoded(result: Result) -> bytes | None:
    try:
        return encode_result(result)
    except NotStorable:
        return None


def _question(request: Request, attrs: Mapping[str, Any]) -> bytes:
    """For people: what is asked; what the answer has to be, unless it is yes or no."""
    more = [attrs["answer"]] if "answer" in attrs else []
    try:
        return encode([*request.inputs, *more])
    except NotStorable:
        return encode([*map(str, request.inputs), *more])


def _soon(tell: Callable[[Outcome], None], outcome: Outcome) -> None:
    asyncio.get_running_loop().call_soon(tell, outcome)


def _release(result: Result) -> None:
    for value in result.outputs:
        release(value)
