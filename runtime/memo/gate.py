"""In front of an engine's scheduler: answers remembered work, and joins equal work in flight.

A unit of work (a text to embed, a call, a decode) that another query has under way is waited for
and not run again. If that query fails or is cancelled first, a waiting query runs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from backends.base import Outcome, Result, Usage, total
from backends.errors import RequestAborted
from graph_opt.ops import OPS
from runtime.dispatch import new_request_id
from runtime.job import Job, Scheduler
from runtime.memo.aside import aside, is_large
from runtime.memo.content import NoContent
from runtime.memo.memo import FAILED, Memo, Pending, copies_of, entries_of
from runtime.memo.memory import Entry
from runtime.memo.rules import Rule, Units
from runtime.memo.sharing import shared
from runtime.ops.table import OP_RUNS
from runtime.scheduler_layer import SchedulerLayer
from runtime.scope import release


class RememberingScheduler(SchedulerLayer[Scheduler]):
    """One engine's scheduler as the queries of one tenant see it.

    The `salt` is a part of all keys, and goes to LLMs as `cache_salt`: tenants share nothing.
    """

    def __init__(
        self, scheduler: Scheduler, memo: Memo | None, owner: bytes, salt: str | None = None
    ) -> None:
        super().__init__(scheduler)
        self._memo = memo
        self._owner = owner
        self._salt = salt
        self._tasks: dict[str, Remembered] = {}  # by request id
        self._digesting: set[str] = set()  # ids of requests whose units are looked for

    def submit(self, job: Job) -> None:
        """Answer the job from the memo, as far as that goes, and queue the rest."""
        if self._salt and OP_RUNS[job.request.op].takes_salt:
            job.request.attrs = {**job.request.attrs, "cache_salt": self._salt}
        if self._memo is None or self._rule(job) is None or not is_large(job.request.inputs):
            self._begin(job, self._units(job))
            return
        self._digesting.add(job.request.id)
        aside(lambda: self._units(job), lambda units: self._digested(job, units))

    def _digested(self, job: Job, units: Units | None) -> None:
        if job.request.id in self._digesting:  # nobody cancelled it
            self._digesting.discard(job.request.id)
            self._begin(job, units)

    def _begin(self, job: Job, units: Units | None) -> None:
        if units is None:
            self._scheduler.submit(self._noting(job))
            return
        assert self._memo is not None, "only a memo has units"
        task = Remembered(job, units, self._memo, self._scheduler, self._forget)
        self._tasks[job.request.id] = task
        task.begin()

    def cancel(self, job: Job) -> None:
        """As a scheduler does; work that other queries wait for goes on."""
        task = self._tasks.pop(job.request.id, None)
        if job.request.id in self._digesting:
            self._digesting.discard(job.request.id)
        elif task is None:
            self._scheduler.cancel(job)
        else:
            task.cancel()

    def _units(self, job: Job) -> Units | None:
        rule = self._rule(job)
        if self._memo is None or rule is None:
            return None
        try:
            return rule(job.request, self._owner, self._memo.contexts)
        except NoContent:
            return None

    def _rule(self, job: Job) -> Rule | None:
        return OP_RUNS[job.request.op].remember if job.may_remember else None

    def _noting(self, job: Job) -> Job:
        if self._memo is None or not OP_RUNS[job.request.op].extends_context:
            return job
        memo, on_done = self._memo, job.on_done

        def done(outcome: Outcome) -> None:
            if isinstance(outcome, Result):
                memo.contexts.note(job.request, outcome)
            on_done(outcome)

        return job.replaced(done)

    def _forget(self, job: Job) -> None:
        self._tasks.pop(job.request.id, None)


class Remembered:
    """One job: the values there are, those under way elsewhere, and those it computes itself."""

    def __init__(
        self,
        job: Job,
        units: Units,
        memo: Memo,
        scheduler: Scheduler,
        on_end: Callable[[Job], None],
    ) -> None:
        self._job = job
        self._units = units
        self._memo = memo
        self._scheduler = scheduler
        self._on_end = on_end
        self._pending = memo.pending if job.may_join else {}
        self._first = {key: i for i, key in reversed([*enumerate(units.keys)])}
        self._values: dict[bytes, Any] = {}
        self._awaited: set[bytes] = set()  # computed by others
        self._own: dict[str, tuple[Job, list[int]]] = {}  # by request id: what runs for this job
        self._usages: list[Usage] = []
        self._num_remembered = 0
        self._num_told = 0  # characters of the text, also of a run that failed
        self._has_ended = False

    def begin(self) -> None:
        found = self._memo.look(self._units.keys)
        missing = [key for key in dict.fromkeys(self._units.keys) if key not in found]
        if missing and self._memo.folder is not None and self._units.is_stable:
            self._memo.folder.get(missing, lambda values: self._found_on_disk(found, values))
        else:
            self._copy(found)

    def _found_on_disk(self, found: Mapping[bytes, Entry], values: Mapping[bytes, Any]) -> None:
        entries = entries_of(values)
        for key, entry in entries.items():
            self._memo.memory.put(key, entry)
        self._copy({**found, **entries})

    def _copy(self, found: Mapping[bytes, Entry]) -> None:
        if is_large([entry.value for entry in found.values()]):
            aside(lambda: copies_of(found), self._found)
        else:
            self._found(copies_of(found))

    def _found(self, found: Mapping[bytes, Any]) -> None:
        if self._has_ended:
            return
        self._values.update(found)
        self._num_remembered = sum(key in found for key in self._units.keys)
        self._compute([key for key in dict.fromkeys(self._units.keys) if key not in found])
        if not self._awaited and not self._own:
            asyncio.get_running_loop().call_soon(self._end)

    def cancel(self) -> None:
        """Nobody waits for this job any more; what others wait for is computed all the same."""
        self._has_ended = True
        for key in self._awaited:
            if (pending := self._pending.get(key)) is not None:
                pending.leave(self._told)
        num_own = len(self._own)
        self._stop_unwanted()
        if self._job.hears_stop and len(self._own) == num_own:  # what runs is for others
            asyncio.get_running_loop().call_soon(self._job.on_done, RequestAborted())

    def _stop_unwanted(self) -> None:
        """Once this job has ended: stop what runs for it and nobody waits for."""
        if not self._has_ended:
            return
        for request_id, (job, indices) in list(self._own.items()):
            pendings = [self._pending[self._units.keys[i]] for i in indices]
            if not any(pending.waiters for pending in pendings):
                self._give_up(request_id)
                self._scheduler.cancel(job)

    def _compute(self, keys: Sequence[bytes]) -> None:
        """Join what is under way; run the rest."""
        own: list[int] = []
        for key in keys:
            pending = self._pending.get(key)
            if pending is None:
                own.append(self._first[key])
                self._pending[key] = Pending(self._stop_unwanted)
            else:
                self._awaited.add(key)
                pending.join(self._told, self._emit())
        if own:
            self._run(own)

    def _run(self, indices: list[int]) -> None:
        request = replace(self._units.subset(indices), emit=self._emit_for(indices))
        if self._own or self._usages:  # no two requests of one id
            request.id = new_request_id()
        job = self._job.replaced(lambda out: self._done(request.id, indices, out), request)
        self._own[request.id] = job, indices
        self._scheduler.submit(job)

    def _emit_for(self, indices: Sequence[int]) -> Callable[[str], None] | None:
        """Texts are told to all who join, also to those who come while it is written."""
        if not OPS[self._job.request.op].writes_text:
            return None
        pending = self._pending[self._units.keys[indices[0]]]
        if (emit := self._emit()) is not None:
            pending.emits.append(emit)
        return pending.emit

    def _emit(self) -> Callable[[str], None] | None:
        """Tells the listener a text from its begin, but for what it heard before a failure."""
        emit = self._job.request.emit
        if emit is None:
            return None
        num_come = 0

        def tell(text: str) -> None:
            nonlocal num_come
            new = text[max(0, self._num_told - num_come) :]
            num_come += len(text)
            if new and not self._has_ended:
                self._num_told += len(new)
                emit(new)

        return tell

    def _done(self, request_id: str, indices: Sequence[int], outcome: Outcome) -> None:
        if request_id not in self._own:  # given up: its outcome is for nobody
            self._job.on_done(outcome) if self._job.hears_stop else _release(outcome)
            return
        keys = [self._units.keys[i] for i in indices]
        if isinstance(outcome, Exception):
            del self._own[request_id]
            self._fail(keys, outcome)
            return
        values = dict(zip(keys, self._units.values(outcome), strict=True))
        _release(outcome)
        if is_large(list(values.values())):
            aside(
                lambda: entries_of(values),
                lambda entries: self._keep(request_id, values, entries, outcome.usage),
            )
        else:
            self._keep(request_id, values, entries_of(values), outcome.usage)

    def _keep(
        self,
        request_id: str,
        values: Mapping[bytes, Any],
        entries: Mapping[bytes, Entry],
        usage: Usage,
    ) -> None:
        if self._own.pop(request_id, None) is None:  # given up meanwhile
            return
        self._memo.keep(entries, self._units.is_stable)
        self._usages.append(usage)
        self._take(values)
        for key in values:
            value = entries[key].value if key in entries else FAILED
            self._pending.pop(key).tell(key, value)

    def _fail(self, keys: Sequence[bytes], error: Exception) -> None:
        waiting = [(key, self._pending.pop(key)) for key in keys]
        if not self._has_ended:
            self.cancel()
            self._on_end(self._job)
            self._job.on_done(error)
        for key, pending in waiting:
            pending.tell(key, FAILED)

    def _give_up(self, request_id: str) -> None:
        _, indices = self._own.pop(request_id)
        for i in indices:
            del self._pending[self._units.keys[i]]

    def _told(self, key: bytes, value: Any) -> None:
        """Somebody else's work ended: with a value to share, or FAILED."""
        if self._has_ended:
            return
        self._awaited.discard(key)
        if value is FAILED:
            self._compute([key])
        else:
            self._num_remembered += 1
            self._take({key: shared(value)})

    def _take(self, values: Mapping[bytes, Any]) -> None:
        self._values.update(values)
        if not self._awaited and not self._own:
            self._end()

    def _end(self) -> None:
        if self._has_ended:
            return
        values = [self._values[key] for key in self._units.keys]
        usage = replace(total(self._usages), remembered_items=self._num_remembered)
        result = self._units.result(values, usage)
        if not self._num_told and (emit := self._emit()) is not None:
            emit(result.outputs[0])
        self._has_ended = True
        self._on_end(self._job)
        self._job.on_done(result)


def _release(outcome: Outcome) -> None:
    """Give back the context of a decode that only its text is wanted of."""
    outputs = outcome.outputs if isinstance(outcome, Result) else ()
    for value in outputs[1:]:
        release(value)
