"""In front of an engine's scheduler: shows a run's guesses what it asks for, and takes theirs."""

from collections.abc import Hashable

from backends.registry import EngineSpec
from graph_opt.ops import OPS, Access, access
from runtime.job import Job, Scheduler
from runtime.ops.table import OP_RUNS
from runtime.run_ahead import CALL, RunAhead
from runtime.scheduler_layer import SchedulerLayer
from runtime.step_history import is_plain

_OF_ITS_OWN = frozenset(("retries", "timeout_s", "engines"))  # attrs: it is more than a call


class WatchedScheduler(SchedulerLayer[Scheduler]):
    """One engine's scheduler as a segment sees it."""

    def __init__(self, run: RunAhead, scheduler: Scheduler, engine: str, spec: EngineSpec) -> None:
        super().__init__(scheduler)
        self._run = run
        self._engine = engine
        self._spec = spec

    def submit(self, job: Job) -> None:
        """Queue the job, or give it what a guess has."""
        ahead = None
        if _is_prompt(job):
            self._run.saw_prompt(job, self._engine, self._spec)
        if job.node is not None and OPS[job.op].writes_text:
            self._run.saw_turn(job)
        if _is_known(job):
            ahead = self._run.saw_call(job, self._engine, self._spec)
        if ahead is None:
            self._scheduler.submit(job)
        else:
            ahead.take(CALL, job, self._scheduler)

    def cancel(self, job: Job) -> None:
        """As a scheduler does."""
        if not self._run.left(job):
            self._scheduler.cancel(job)


def _is_prompt(job: Job) -> bool:
    """Whether it begins a context."""
    if job.node is None or OPS[job.op].prompt_from != 1 or job.request.inputs[0] is not None:
        return False
    return OPS[job.op].writes_text or OP_RUNS[job.op].extends_context


def _is_known(job: Job) -> bool:
    """Whether it is a pure call that can be compared with others."""
    node = job.node
    if node is None or OPS[job.op].engine_kind != "python" or node.attrs.keys() & _OF_ITS_OWN:
        return False
    is_pure = access(node) == Access() and isinstance(job.request.attrs["fn"], Hashable)
    return is_pure and all(map(is_plain, job.request.inputs))
