"""A branch that runs before it is chosen: what its engines give, and who takes it.

guess   answer ────────────┐               the branch's own request takes the outcome of the
query   judge ──────> then │ answer ─> send        guess, while it runs or after, and runs
                                                   itself where there is none
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from backends.base import Outcome, Result, Usage, total
from backends.errors import RequestAborted
from backends.place import Left
from graph_opt.graph import Node
from graph_opt.ops import OPS
from runtime.clock import now
from runtime.guess_budget import CHARS_PER_TOKEN, NOTHING, Cost, GuessBudget, cost_of
from runtime.job import Job, Scheduler, Started
from runtime.scheduler_layer import SchedulerLayer
from runtime.scope import release

MAX_STOP_S = 30.0  # so long a stopped request may take to say what it cost


@dataclass(frozen=True, slots=True)
class Computed:
    """What requests of a guess cost."""

    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0  # of tools

    def __add__(self, other: "Computed") -> "Computed":
        return Computed(total([self.usage, other.usage]), self.seconds + other.seconds)

    @property
    def cost(self) -> Cost:
        return cost_of(self.usage, self.seconds)

    @property
    def as_wasted(self) -> Usage:
        """The same, said to be for nothing."""
        return replace(self.usage, wasted_tokens=round(self.cost.tokens), wasted_s=self.seconds)


OnQuiet = Callable[[Computed, Computed], None]


class Ahead:
    """The outcomes of one guess, by node. Owns those that nobody took."""

    def __init__(self, budget: GuessBudget) -> None:
        self._budget = budget
        self._sent: dict[str, Job] = {}
        self._started: set[str] = set()
        self._running: set[str] = set()
        self._outcomes: dict[str, Outcome] = {}
        self._taken: set[str] = set()
        self._texts: dict[str, list[str]] = defaultdict(list)
        self._waiting: dict[str, tuple[Job, Scheduler]] = {}
        self._called_s: dict[str, float] = {}  # when a tool started, then how long it took
        self._left: Left | None = None  # of the guess's query
        self._whole = self._lost = Computed()
        self._on_quiet: OnQuiet | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_ended = False
        self._is_wanted = False

    def noting(self, node: Node, scheduler: Scheduler) -> Scheduler:
        """The scheduler for a request of the guess."""
        return _Noting(self, node.name, scheduler)

    def taking(self, node: Node, scheduler: Scheduler) -> Scheduler:
        """The scheduler for the same request of the branch that was chosen."""
        return _Taking(self, node.name, scheduler)

    def text(self, name: str, piece: str) -> None:
        """A piece of a text of the guess."""
        self._texts[name].append(piece)
        if name in self._waiting:
            _emit(self._waiting[name][0], piece)

    def is_wanted(self) -> None:
        """The branch was chosen: somebody waits for what runs."""
        self._is_wanted = True
        if self._left is not None:
            self._left.is_guess = False

    @property
    def is_awaited(self) -> bool:
        """Whether a job waits for what runs."""
        return bool(self._waiting)

    def end(self, on_quiet: OnQuiet) -> None:
        """Nobody takes any more. When nothing of it runs, `on_quiet` gets what was computed, and
        what of it for nothing."""
        self._is_ended, self._on_quiet = True, on_quiet
        self._waiting.clear()
        lost = [name for name in self._outcomes if name not in self._taken]
        for name in lost:
            _release(self._outcomes[name])
        self._whole, self._lost = self._computed(list(self._outcomes)), self._computed(lost)
        self._budget.end(self._whole.cost - self._lost.cost, self._lost.cost)
        self._close_if_quiet()
        if self._running:
            self._timer = asyncio.get_running_loop().call_later(MAX_STOP_S, self._give_up)

    def _give_up(self) -> None:
        """An engine does not tell what it stopped."""
        self._running.clear()
        self._close_if_quiet()

    def hurry(self) -> None:
        """Tell `on_quiet` now what is known, and about how much more is for nothing of what is
        still being stopped."""
        tell, self._on_quiet = self._on_quiet, None
        if tell is not None:
            late = (self._estimated(name) for name in self._running)
            tell(self._whole, sum(late, start=self._lost))

    def _estimated(self, name: str) -> Computed:
        if name in self._called_s:
            return Computed(seconds=now() - self._called_s[name])
        texts = [part for part in self._sent[name].request.inputs if isinstance(part, str)]
        read = max(1, sum(map(len, texts)) // CHARS_PER_TOKEN) if texts else 0
        written = len(self._texts.get(name, ()))
        return Computed(Usage(read, decode_tokens=written, estimated_tokens=read + written))

    def _close_if_quiet(self) -> None:
        if self._is_ended and not self._running:
            if self._timer is not None:
                self._timer.cancel()
            self._budget.close(self)
            self.hurry()

    def _computed(self, names: list[str]) -> Computed:
        usage = total(_usage(self._outcomes[name]) for name in names) if names else Usage()
        return Computed(usage, sum(self._called_s.get(name, 0.0) for name in names))

    def send(self, name: str, job: Job, scheduler: Scheduler) -> None:
        """Queue a request of the guess."""
        on_start, on_done = job.on_start, job.on_done
        is_tool = OPS[job.op].engine_kind == "python"

        def started(at: Started) -> None:
            self._started.add(name)
            self._running.add(name)
            if is_tool:
                self._called_s[name] = now()
            on_start(at)

        def done(outcome: Outcome) -> None:
            if name in self._called_s:
                self._called_s[name] = now() - self._called_s[name]
            self._came(name, outcome)
            on_done(outcome)

        job.on_start, job.on_done = started, done
        job.hears_stop = True
        self._left = job.place.left
        if self._left is not None:
            self._left.is_guess = not self._is_wanted
        self._sent[name] = job
        scheduler.submit(job)

    def _came(self, name: str, outcome: Outcome) -> None:
        self._running.discard(name)
        if self._is_ended:
            late = Computed(_usage(outcome), self._called_s.get(name, 0.0))
            self._whole, self._lost = self._whole + late, self._lost + late
            self._budget.end(NOTHING, late.cost)
            self._close_if_quiet()
            _release(outcome)
            return
        self._outcomes[name] = outcome
        waiting = self._waiting.pop(name, None)
        if waiting is not None:
            job, scheduler = waiting
            self._give(name, job, outcome) if _is_good(outcome) else scheduler.submit(job)

    def take(self, name: str, job: Job, scheduler: Scheduler) -> None:
        """Give a job what the guess has, or will have; else queue it."""
        outcome = self._outcomes.get(name)
        if not self._is_ended and outcome is not None and _is_good(outcome):
            self._replay(name, job)
            self._taken.add(name)
            asyncio.get_running_loop().call_soon(job.on_done, outcome)
        elif not self._is_ended and outcome is None and name in self._started:
            self._replay(name, job)
            self._waiting[name] = job, scheduler
        else:
            if outcome is None and name in self._sent:  # its turn has not come: ours goes first
                scheduler.cancel(self._sent[name])
            scheduler.submit(job)

    def _give(self, name: str, job: Job, outcome: Outcome) -> None:
        self._taken.add(name)
        job.on_done(outcome)

    def _replay(self, name: str, job: Job) -> None:
        for piece in self._texts[name]:
            _emit(job, piece)

    def leave(self, name: str, job: Job) -> bool:
        """Whether the job waited for the guess, which it does no more."""
        waits = name in self._waiting and self._waiting[name][0] is job
        if waits:
            del self._waiting[name]
        return waits


class _Noting(SchedulerLayer[Scheduler]):
    def __init__(self, ahead: Ahead, name: str, scheduler: Scheduler) -> None:
        super().__init__(scheduler)
        self._ahead = ahead
        self._node = name

    def submit(self, job: Job) -> None:
        """Queue the job; what comes of it is noted."""
        self._ahead.send(self._node, job, self._scheduler)

    def cancel(self, job: Job) -> None:
        """As a scheduler does."""
        self._scheduler.cancel(job)


class _Taking(SchedulerLayer[Scheduler]):
    def __init__(self, ahead: Ahead, name: str, scheduler: Scheduler) -> None:
        super().__init__(scheduler)
        self._ahead = ahead
        self._node = name

    def submit(self, job: Job) -> None:
        """Take what the guess has, or wait for it; else queue the job."""
        self._ahead.take(self._node, job, self._scheduler)

    def cancel(self, job: Job) -> None:
        """As a scheduler does."""
        if not self._ahead.leave(self._node, job):
            self._scheduler.cancel(job)


def _is_good(outcome: Outcome) -> bool:
    return isinstance(outcome, Result)


def _emit(job: Job, piece: str) -> None:
    if job.request.emit is not None:
        job.request.emit(piece)


def _usage(outcome: Outcome) -> Usage:
    return outcome.usage if isinstance(outcome, (Result, RequestAborted)) else Usage()


def _release(outcome: Outcome) -> None:
    for value in outcome.outputs if isinstance(outcome, Result) else ():
        release(value)
