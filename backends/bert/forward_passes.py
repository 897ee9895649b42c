"""Requests of many texts, computed in passes of a bounded number of tokens.

Short requests of many queries share a pass and long ones are cut over several, so nobody waits for
a batch to fill or for a long request to end. The request with the fewest tokens left goes first
(Schrage, "A proof of the optimality of the shortest remaining processing time discipline", 1968);
whoever was served longest ago always gets one text, so that nobody starves.
"""

from collections.abc import Callable, Collection, Sequence, Sized
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

from backends.base import Outcome, Request, Result
from backends.errors import EngineError

Text = TypeVar("Text", bound=Sized)  # its length is in tokens
Value = TypeVar("Value")


@dataclass(slots=True, eq=False)
class Job(Generic[Text, Value]):
    """A request as texts to compute, and the result of their values, to whose usage the tokens of
    the texts are added."""

    request: Request
    texts: Sequence[Text]
    finish: Callable[[Sequence[Value]], Result]
    served: int = 0  # the pass that last had a text of it, or before which it came
    values: list[Value] = field(default_factory=list)
    tokens_left: int = field(init=False)

    def __post_init__(self) -> None:
        self.tokens_left = sum(map(len, self.texts))

    @property
    def next_texts(self) -> Sequence[Text]:
        return self.texts[len(self.values) :]

    def add(self, values: Sequence[Value]) -> None:
        """Of the next texts."""
        self.tokens_left -= sum(map(len, self.next_texts[: len(values)]))
        self.values += values

    @property
    def is_computed(self) -> bool:
        return len(self.values) == len(self.texts)

    def outcome(self) -> Outcome:
        try:
            result = self.finish(self.values)
        except Exception as error:
            return _as_engine_error(error)
        num_tokens = sum(map(len, self.texts))
        return replace(result, usage=replace(result.usage, prefill_tokens=num_tokens))


class TextRunner(Protocol[Text, Value]):
    """A model that maps each text to a value of its own, and what its requests mean."""

    budget_tokens: int  # of a pass

    def read(self, request: Request) -> Job[Text, Value]:
        """Raises RequestRejected."""

    def compute(self, texts: Sequence[Text]) -> Sequence[Value]:
        """One value a text, in order."""


def next_pass(
    jobs: Sequence[Job[Text, Value]], budget_tokens: int
) -> list[tuple[Job[Text, Value], int]]:
    """How many of whose next texts; at least one, though it alone be more than the budget."""
    patient = min(jobs, key=lambda job: job.served)
    room = budget_tokens - len(patient.next_texts[0])
    chosen = []
    for job in sorted(jobs, key=lambda job: (-job.request.priority, job.tokens_left)):
        count = int(job is patient)
        for text in job.next_texts[count:]:
            if len(text) > room:
                break
            room -= len(text)
            count += 1
        if count:
            chosen.append((job, count))
    return chosen


class Passes(Generic[Text, Value]):
    """The requests of one model that are under way. Not thread safe."""

    def __init__(self, runner: TextRunner[Text, Value]) -> None:
        self._runner = runner
        self._jobs: list[Job[Text, Value]] = []
        self._num_passes = 0

    @property
    def is_idle(self) -> bool:
        return not self._jobs

    def step(
        self, new: Sequence[Request], aborted: Collection[str] = ()
    ) -> list[tuple[Request, Outcome]]:
        """One pass, with requests that came since the last; those that are finished by now."""
        ended = self._enter(new)
        for job in self._jobs:
            if job.request.id in aborted:
                ended.append((job.request, EngineError("the request was aborted")))
        self._drop(ended)
        if self._jobs:
            ended += self._pass()
            self._drop(ended)
        return ended

    def run(self, requests: Sequence[Request]) -> list[Outcome]:
        """All of them to their ends; outcomes in order. A wrong request fails alone."""
        ended = dict(self.step(requests))
        while not self.is_idle:
            ended.update(self.step(()))
        return [ended[request] for request in requests]

    def clear(self) -> None:
        """Forget all requests: a step broke."""
        self._jobs.clear()

    def close(self) -> None:
        """The weights go when the last engine that shares them does."""

    def _enter(self, new: Sequence[Request]) -> list[tuple[Request, Outcome]]:
        ended: list[tuple[Request, Outcome]] = []
        for request in new:
            try:
                job = self._runner.read(request)
            except Exception as error:  # mostly RequestRejected
                ended.append((request, _as_engine_error(error)))
                continue
            if job.is_computed:
                ended.append((request, job.outcome()))
            else:
                job.served = self._num_passes
                self._jobs.append(job)
        return ended

    def _pass(self) -> list[tuple[Request, Outcome]]:
        shares = next_pass(self._jobs, self._runner.budget_tokens)
        self._num_passes += 1
        texts = [text for job, count in shares for text in job.next_texts[:count]]
        try:
            values = self._runner.compute(texts)
        except Exception as error:  # the outcome of each request of this pass
            return [(job.request, _as_engine_error(error)) for job, _ in shares]
        start = 0
        for job, count in shares:
            job.add(values[start : start + count])
            job.served = self._num_passes
            start += count
        return [(job.request, job.outcome()) for job, _ in shares if job.is_computed]

    def _drop(self, ended: Sequence[tuple[Request, Outcome]]) -> None:
        gone = {request for request, _ in ended}
        self._jobs = [job for job in self._jobs if job.request not in gone]


def _as_engine_error(error: Exception) -> EngineError:
    if isinstance(error, EngineError):
        return error
    wrapped = EngineError(f"the model broke: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
