"""Guesses in a run of an `async def` app: what is likely to follow while a model writes its turn.

turn of the model  ├──────────────┤
its call, pure        ├────┤ ......  taken, if the model makes just that call
the next prompt    ├──┤ ..........  in the prefix cache, if the run goes on with it

What follows is learnt from earlier runs (`step_history.py`). Only pure calls on plain values run
early; of prompts the beginning that is known is prefilled. All of it keeps to the run's budget,
goes behind all real work, and changes no answer.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from backends.base import Outcome, Request, Result, Usage
from backends.place import Left
from backends.registry import EngineSpec
from runtime.ahead import Ahead, Computed
from runtime.branches import has_room
from runtime.dispatch import new_request_id
from runtime.guess_budget import GuessBudget, cost_of
from runtime.hints import Hint
from runtime.job import Job, Scheduler
from runtime.memo.content import NoContent
from runtime.memo.rules import version_of
from runtime.prompt_ahead import PromptAhead
from runtime.step_history import Known, Step, StepHistory, key_of
from runtime.telling import Teller

LAST_WORD_S = 0.1  # that the end of a run waits for it
MAX_TURN = 16  # later turns of the same node count as this one
_INDEX = re.compile(r"\[[\d.]+\]")
_OF_PROMPT = ("adapter", "tools")  # attrs that a prefill takes too
_HINT = Hint(depth=0, level_s=0.0)
CALL = "call"

Gate = Callable[[str, EngineSpec], Scheduler | None]  # None where nothing is to be guessed


@dataclass(frozen=True, slots=True)
class _Like:
    """What a step is made of, but for its values."""

    op: str
    engine: str  # as the app calls it
    spec: EngineSpec
    node: str
    attrs: Mapping[str, Any]


@dataclass(slots=True, eq=False)
class _CallAhead:
    step: Step
    ahead: Ahead
    job: Job
    scheduler: Scheduler
    is_taken: bool = False  # by a call, which it serves alone


class RunAhead:
    """Of one run. All methods are called on the engines' event loop."""

    def __init__(self, app: Hashable, budget: GuessBudget, history: StepHistory) -> None:
        self.budget = budget
        self._app = app
        self._history = history
        self._known = Known()
        self._turns: Counter[str] = Counter()
        self._turn: Hashable = (app, "", 0)
        self._num_steps = 0  # behind the turn
        self._num_calls = 0
        self._calls: dict[Hashable, _CallAhead] = {}
        self._ending: dict[_CallAhead, None] = {}  # those that are being stopped
        self._prompts: list[tuple[Step, PromptAhead]] = []
        self._stopping: dict[PromptAhead, Step] = {}  # that were for nothing, and still run
        self._has_stopped = asyncio.Event()
        self._followed: dict[PromptAhead, Step] = {}  # whose prompts are being computed
        self._is_over = False
        self._teller: Teller | None = None  # of the segment that began last
        self._gate: Gate = lambda _name, _spec: None

    def enter(self, place: str, inputs: Mapping[str, Any], teller: Teller, gate: Gate) -> None:
        """A segment of the run begins. Guesses go to what the `gate` gives."""
        self._teller, self._gate = teller, gate
        for name, value in inputs.items():
            self._known.note((place, name), value)

    async def end(self) -> None:
        """The run has ended: what nobody asked for was for nothing. A prompt that still runs has a
        moment to say what it cost; then that is estimated."""
        self._history.note(self._turn, self._num_steps, None)
        self._drop(is_end=True)
        for call in list(self._ending):
            call.ahead.hurry()
        await self._hear_stopped()
        self._is_over = True

    async def _hear_stopped(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORD_S):
                while self._stopping:
                    self._has_stopped.clear()
                    await self._has_stopped.wait()
        for prompt, step in self._stopping.items():
            self._tell(step.like, prompt.estimated(step.most))

    def saw_turn(self, job: Job) -> None:
        """A model writes: guess what follows."""
        node = _INDEX.sub("[]", job.path)
        self._history.note(self._turn, self._num_steps, None)
        self._drop()
        number = self._turns[node] = min(MAX_TURN, self._turns[node] + 1)
        self._turn, self._num_steps = (self._app, node, number), 0
        on_done = job.on_done

        def done(outcome: Outcome) -> None:
            if isinstance(outcome, Result):
                self._known.note(("text", node, number), outcome.outputs[0])
            on_done(outcome)

        job.on_done = done
        for step in self._history.likely(self._turn):
            self._guess(step)

    def saw_prompt(self, job: Job, engine: str, spec: EngineSpec) -> None:
        """A new prompt came: what was prefilled of it is in the cache."""
        parts, node = job.request.inputs[1:], _INDEX.sub("[]", job.path)
        attrs = {name: job.request.attrs[name] for name in _OF_PROMPT if name in job.request.attrs}
        like = _Like("prefill", engine, spec, node, attrs)
        self._note(("prompt", spec.key, node, repr(attrs)), like, parts)
        for each in self._prompts:
            if each[1].begins(parts, attrs):
                self._prompts.remove(each)
                self._follow(job, *each)
                return

    def _follow(self, job: Job, step: Step, prompt: PromptAhead) -> None:
        on_done = job.on_done
        prompt.stop()
        self._followed[prompt] = step

        def done(outcome: Outcome) -> None:
            if self._followed.pop(prompt, None) is not None:
                self._settle(step, prompt, outcome)
            on_done(outcome)

        job.on_done = done

    def saw_call(self, job: Job, engine: str, spec: EngineSpec) -> Ahead | None:
        """A pure call on plain values came: what has run it already, or does."""
        values, attrs = job.request.inputs, job.request.attrs
        what = (CALL, attrs["fn"], attrs.get("kwargs"), len(values))
        like = _Like(CALL, engine, spec, _INDEX.sub("[]", job.path), attrs)
        self._note(what, like, values)
        self._num_calls += 1
        number, on_done = self._num_calls, job.on_done
        for at, value in enumerate(values):
            self._known.note(("argument", number, at), value)
        key = _call_key(what, attrs["fn"], values)
        found = None if key is None else self._calls.get(key)
        if found is not None and found.is_taken:
            found = None

        def done(outcome: Outcome) -> None:
            if isinstance(outcome, Result):
                self._known.note(("result", number), outcome.outputs[0])
            if found is not None and self._calls.get(key) is found:
                del self._calls[key]
                self._end_call(found)
            on_done(outcome)

        job.on_done = done
        if found is None:
            return None
        found.is_taken = True
        found.ahead.is_wanted()
        return found.ahead

    def left(self, job: Job) -> bool:
        """Whether a job that is cancelled waited for a guess."""
        for key, call in list(self._calls.items()):
            if call.ahead.leave(CALL, job):
                del self._calls[key]
                self._end_call(call)
                return True
        return False

    def _note(self, key: Hashable, like: _Like, values: Sequence[Any]) -> None:
        slots = [self._known.sources(value) for value in values]
        self._history.note(self._turn, self._num_steps, key, like, slots)
        self._num_steps += 1

    def _guess(self, step: Step) -> None:
        like: _Like = step.like
        scheduler = self._gate(like.engine, like.spec)
        if scheduler is None or not has_room(scheduler):
            return
        values: list[Any] = []
        for slot in step.known_slots:
            found = self._known.resolved(slot)
            if not found:
                break
            values.append(found[0])
        if like.op != CALL and any(isinstance(value, str) for value in values):
            if step.may_try():
                self._guess_prompt(step, scheduler, tuple(values))
        elif like.op == CALL and len(values) == len(step.slots):
            self._guess_call(step, scheduler, tuple(values))

    def _guess_call(self, step: Step, scheduler: Scheduler, values: tuple[Any, ...]) -> None:
        key = _call_key(step.key, step.like.attrs["fn"], values)
        ahead = Ahead(self.budget)
        if key is None or key in self._calls or not self.budget.begin(ahead, step.most):
            return
        job = self._job(Request(new_request_id(), CALL, values, step.like.attrs))
        job.may_remember = True
        self._calls[key] = _CallAhead(step, ahead, job, scheduler)
        ahead.send(CALL, job, scheduler)

    def _guess_prompt(self, step: Step, scheduler: Scheduler, parts: tuple[Any, ...]) -> None:
        prompt = PromptAhead(parts, step.like.attrs, self.budget, partial(self._came_late, step))
        if not self.budget.begin(prompt, step.most):
            return
        attrs = dict(step.like.attrs)
        self._prompts.append((step, prompt))
        prompt.send(
            self._job(Request(new_request_id(), "prefill", (None, *parts), attrs)), scheduler
        )

    def _job(self, request: Request) -> Job:
        left = Left(0.0, is_guess=True)
        return Job(request, "ahead", _HINT, lambda _: None, lambda _: None, left=left)

    def _drop(self, *, is_end: bool = False) -> None:
        for key, call in list(self._calls.items()):
            if is_end or not call.ahead.is_awaited:
                del self._calls[key]
                self._end_call(call)
        prompts, self._prompts = self._prompts, []
        for step, prompt in prompts:
            prompt.stop()
            self._settle(step, prompt, None)
            if prompt.is_stopping:
                self._stopping[prompt] = step
        while is_end and self._followed:  # who is cancelled while it waits gets no outcome
            prompt, step = self._followed.popitem()
            self._settle(step, prompt, None)

    def _end_call(self, call: _CallAhead) -> None:
        call.scheduler.cancel(call.job)
        self._ending[call] = None
        call.ahead.end(partial(self._ended_call, call))

    def _ended_call(self, call: _CallAhead, computed: Computed, wasted: Computed) -> None:
        del self._ending[call]
        call.step.cost(computed.cost)
        self._tell(call.step.like, wasted.as_wasted)

    def _settle(self, step: Step, prompt: PromptAhead, outcome: Outcome | None) -> None:
        cost, wasted = prompt.settle(outcome)
        step.cost(cost)
        if isinstance(outcome, Result):
            step.gave(cost.tokens - wasted.wasted_tokens)
        self._tell(step.like, wasted)

    def _came_late(self, step: Step, prompt: PromptAhead, wasted: Usage) -> None:
        self._stopping.pop(prompt, None)
        self._has_stopped.set()
        step.cost(cost_of(wasted))
        if not self._is_over:
            self._tell(step.like, wasted)

    def _tell(self, like: _Like, wasted: Usage) -> None:
        """What a wrong guess cost is a span of the segment that runs, or ran last."""
        if self._teller is None or not (wasted.wasted_tokens or wasted.wasted_s):
            return
        path = f"{like.node}.ahead"
        self._teller.tell("ready", path, like.op, {"engine": like.engine, "items": 1})
        self._teller.tell_end(path, like.op, Result((), wasted))


def _call_key(step: Hashable, fn: Any, values: Sequence[Any]) -> Hashable | None:
    """Equal for calls that give the same; None where it is not known what the function reads."""
    try:
        return (step, version_of(fn), *map(key_of, values))
    except NoContent:
        return None
