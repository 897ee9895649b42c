"""Prefills that run ahead, at one engine: a head is computed once, not in every query.

A pass marks the prefills that may pay (`graph_opt.passes.warm_up`). Here the texts are there: a
short head, and one that was computed lately, stays with the client; so do all where readers do not
find them (`warm_hits.py`). Who comes while a head is computed waits for it. A warm-up that fails
harms nobody: the decodes behind it send the head too.
"""

import json
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backends.base import Outcome, Part, Result
from graph_opt.passes.warm_up import MIN_WARM_TOKENS
from runtime.clock import now
from runtime.cost.api_tokens import tokens_of
from runtime.cost.latency import Load
from runtime.engine_scheduler import EngineScheduler
from runtime.job import Job
from runtime.ops.table import OP_RUNS
from runtime.scheduler_layer import SchedulerLayer
from runtime.warm_hits import Made, WarmHits

WARM_S = 300.0  # a server's cache keeps what was read so lately, as a rule
MAX_HEADS = 256


@dataclass(slots=True)
class _Head:
    """A head that is computed, or was."""

    is_running: bool = True
    until_s: float = 0.0  # so long it counts as computed
    waiting: list[Job] = field(default_factory=list)


class WarmUps(SchedulerLayer[EngineScheduler]):
    """An engine's scheduler, but for prefills that run ahead. Shared by all queries."""

    def __init__(self, scheduler: EngineScheduler) -> None:
        super().__init__(scheduler)
        self._heads: OrderedDict[Hashable, _Head] = OrderedDict()  # least recently used first
        self._hits = WarmHits()
        self._running: dict[str, Hashable | None] = {}  # by request id: the head, if it has a key

    def submit(self, job: Job) -> None:
        """Queue a job, with what it asks of the server that the server has not done."""
        attrs, (context, *parts) = job.request.attrs, job.request.inputs or (None,)
        if not attrs.get("ahead"):
            self._scheduler.submit(self._followed(job, context))
        elif not self._pays(parts):
            self._stay(job)
        elif context is not None:
            self._run(None, job)
        else:
            self._ask((*parts, *_kept_apart(attrs)), job)

    def cancel(self, job: Job) -> None:
        """As a scheduler does; a head that others wait for is computed all the same."""
        request_id = job.request.id
        key = self._running.get(request_id)
        if key is not None and self._heads[key].waiting:
            return
        if request_id in self._running:
            del self._running[request_id]
            self._heads.pop(key, None)
        for head in self._heads.values():
            head.waiting = [other for other in head.waiting if other.request.id != request_id]
        self._scheduler.cancel(job)

    def _ask(self, key: Hashable, job: Job) -> None:
        head = self._heads.get(key)
        if head is not None and head.is_running:
            head.waiting.append(job)
        elif head is not None and now() < head.until_s:
            head.until_s = now() + WARM_S
            self._heads.move_to_end(key)
            self._stay(self._noted(job, Made(key, is_fresh=False)))
        else:
            self._heads[key] = _Head()
            self._heads.move_to_end(key)
            self._forget()
            self._run(key, job)

    def _run(self, key: Hashable | None, job: Job) -> None:
        """Have the server compute a head; without a key it is nobody else's."""

        def done(outcome: Outcome) -> None:
            if job.request.id not in self._running:  # it was cancelled
                job.on_done(outcome)
                return
            del self._running[job.request.id]
            has_failed = isinstance(outcome, Exception)
            waiting = self._told(key, has_failed)
            made = Made(key, is_fresh=True)
            self._stay(job) if has_failed else self._noted(job, made).on_done(outcome)
            for other in waiting:
                self._stay(other if has_failed else self._noted(other, made))

        self._running[job.request.id] = key
        self._scheduler.submit(job.replaced(done))

    def _told(self, key: Hashable | None, has_failed: bool) -> Sequence[Job]:
        """A head is computed, or is not; who waited for it."""
        if key is None:
            return ()
        head = self._heads[key]
        waiting, head.waiting = head.waiting, []
        head.is_running, head.until_s = False, now() + WARM_S
        if has_failed:
            del self._heads[key]
        return waiting

    def _noted(self, job: Job, made: Made) -> Job:
        """The job, whose context is one that a server should hold."""

        def done(outcome: Outcome) -> None:
            if isinstance(outcome, Result):
                self._hits.note(outcome.outputs[0], made)
            job.on_done(outcome)

        return job.replaced(done)

    def _followed(self, job: Job, context: Any) -> Job:
        """The job, which tells what it found of a head that it begins with."""
        made = self._hits.of(context)
        able = self._scheduler.engine.info.capabilities
        if made is None or "cached_tokens" not in able or OP_RUNS[job.request.op].extends_context:
            return job

        def done(outcome: Outcome) -> None:
            if isinstance(outcome, Result):
                is_there = self._hits.read(made, context.num_tokens, outcome.usage)
                head = self._heads.get(made.key)
                if not is_there and head is not None and not head.is_running:
                    del self._heads[made.key]
            job.on_done(outcome)

        return job.replaced(done)

    def _stay(self, job: Job) -> None:
        attrs = job.request.attrs
        job.request.attrs = {name: attrs[name] for name in attrs if name != "ahead"}
        self._scheduler.submit(job)

    def _pays(self, parts: Sequence[Part]) -> bool:
        tokens, latency = tokens_of(parts), self._scheduler.latency
        if latency.is_profiled:
            call_s = latency.seconds(Load("prefill", 1.0, 0.0))
            is_long = latency.seconds(Load("prefill", tokens, 0.0)) > 2 * call_s
        else:
            is_long = tokens >= MIN_WARM_TOKENS
        return is_long and self._hits.pay()

    def _forget(self) -> None:
        for key in list(self._heads):
            if len(self._heads) <= MAX_HEADS:
                return
            if not self._heads[key].is_running:
                del self._heads[key]


def _kept_apart(attrs: Mapping[str, Any]) -> tuple[Hashable, ...]:
    """What makes another head of the same parts."""
    tools = attrs.get("tools")
    return (attrs.get("adapter"), attrs.get("cache_salt"), tools and json.dumps(tools))
