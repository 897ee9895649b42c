"""Hedged requests: where the first endpoint is slow, a copy goes to a second one, and the first
answer wins (Dean and Barroso, "The Tail at Scale", 2013).

The copy is sent once the request has waited long and told nothing. Who tells first, or ends well
first, wins; the other is aborted, and what it computed counts as wasted: as it says, or as its pace
lets expect. A budget keeps copies few.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from backends.base import Outcome, Request, Result
from backends.errors import RequestAborted
from backends.remote.routing.endpoint import Endpoint
from backends.retry_budget import RetryBudget

After = Annotated[float, Field(gt=0)] | Literal["p95"] | None

NUM_SEEN = 256  # requests whose times are kept
LEAST_SEEN = 20  # before p95 means something
STOP_S = 0.1  # for the other one to stop and say what it computed

Run = Callable[[Sequence[Request], Endpoint | None], Coroutine[Any, Any, list[Outcome]]]


class Hedging:
    """Of one engine. `run` sends requests to any endpoint but one; `other` finds where a request is
    and whether another endpoint has room."""

    def __init__(
        self,
        after: float | Literal["p95"],
        run: Run,
        abort: Callable[[str], None],
        slow: Callable[[str], Endpoint | None],
        computed: Callable[[str], int],
    ) -> None:
        """`slow` gives the endpoint of a request that may have a copy, if another one has room;
        `computed` estimates the tokens of a request that runs."""
        self._after = after
        self._run = run
        self._abort = abort
        self._slow = slow
        self._computed = computed
        self._budget = RetryBudget()
        self._times_s: deque[float] = deque(maxlen=NUM_SEEN)
        self.num_copies = 0
        self._copies: dict[str, Sequence[Request]] = {}  # by the id of the first request

    @property
    def after_s(self) -> float | None:
        """How long a request waits for its copy; None: not enough is known."""
        if self._after != "p95":
            return self._after
        if len(self._times_s) < LEAST_SEEN:
            return None
        return sorted(self._times_s)[int(0.95 * len(self._times_s))]

    async def run(self, requests: Sequence[Request]) -> list[Outcome]:
        """The outcomes of the requests, or of their copies."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        self._budget.sent()
        after_s = self.after_s
        if after_s is None:
            outcomes = await self._run(requests, None)
        else:
            outcomes = await self._race(requests, after_s)
        self._times_s.append(loop.time() - began_s)
        return outcomes

    def abort(self, request_id: str) -> None:
        """Its copy is aborted with a request."""
        for copy in self._copies.get(request_id, ()):
            self._abort(copy.id)

    async def _race(self, requests: Sequence[Request], after_s: float) -> list[Outcome]:
        race = _Race()
        race.enter(requests, lambda own: self._run(own, None))
        try:
            await race.wait(after_s)
            slow = None if race.is_decided else self._slow(requests[0].id)
            if slow is not None and self._budget.take(asyncio.get_running_loop().time()):
                self.num_copies += 1
                copies = [replace(request, id=_id_of_copy(request.id)) for request in requests]
                self._copies |= {request.id: copies for request in requests}
                race.enter(copies, lambda own: self._run(own, slow))
            return await race.end(self._abort, self._computed)
        finally:
            for request in requests:
                self._copies.pop(request.id, None)
            await race.close()


@dataclass(slots=True, eq=False)
class _Runner:
    requests: Sequence[Request]
    task: "asyncio.Task[list[Outcome]]"

    @property
    def outcomes(self) -> list[Outcome] | None:
        """None: it runs, or was cancelled."""
        is_over = self.task.done() and not self.task.cancelled()
        return self.task.result() if is_over else None

    @property
    def is_well(self) -> bool:
        outcomes = self.outcomes
        return outcomes is not None and all(isinstance(out, Result) for out in outcomes)


class _Race:
    """Requests and their copy."""

    def __init__(self) -> None:
        self._runners: list[_Runner] = []
        self._voice: int | None = None  # the number of the one that tells
        self._told = asyncio.Event()

    @property
    def is_decided(self) -> bool:
        return self._voice is not None or any(each.task.done() for each in self._runners)

    def enter(
        self,
        requests: Sequence[Request],
        run: Callable[[Sequence[Request]], Coroutine[Any, Any, list[Outcome]]],
    ) -> None:
        number = len(self._runners)
        own = [
            request if request.emit is None else replace(request, emit=self._tell(request, number))
            for request in requests
        ]
        self._runners.append(_Runner(own, asyncio.ensure_future(run(own))))

    async def wait(self, seconds: float | None = None) -> None:
        """Until somebody tells something or ends, or the time is over."""
        told = asyncio.ensure_future(self._told.wait())
        running = [each.task for each in self._runners if not each.task.done()]
        try:
            await asyncio.wait(
                (told, *running), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            told.cancel()

    async def end(
        self, abort: Callable[[str], None], computed: Callable[[str], int]
    ) -> list[Outcome]:
        """The winner's outcomes, with what the other one wasted. Its requests are at one endpoint
        together, and the first one's estimate is that of all."""
        while (winner := self._winner()) is None:
            await self.wait()
        others = [
            (each, computed(each.requests[0].id)) for each in self._runners if each is not winner
        ]
        for request in (request for other, _ in others for request in other.requests):
            abort(request.id)
        outcomes = await asyncio.shield(winner.task)
        running = [each.task for each, _ in others if not each.task.done()]
        if running:
            await asyncio.wait(running, timeout=STOP_S)
        first = outcomes[0]
        for other, estimate in others:
            first = _wasting(first, other.outcomes or (), estimate)
        return [first, *outcomes[1:]]

    async def close(self) -> None:
        """Nothing of it runs any more."""
        tasks = [each.task for each in self._runners]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _winner(self) -> _Runner | None:
        if self._voice is not None:
            return self._runners[self._voice]
        well = [each for each in self._runners if each.is_well]
        if well:
            return well[0]
        return self._runners[0] if all(each.task.done() for each in self._runners) else None

    def _tell(self, request: Request, number: int) -> Callable[[str], None]:
        emit = request.emit
        assert emit is not None, "of requests that tell"

        def tell(text: str) -> None:
            if self._voice is None:
                self._voice = number
                self._told.set()
            if self._voice == number:
                emit(text)

        return tell


def _id_of_copy(request_id: str) -> str:
    """No other request has it: the first bit of ours is never set twice."""
    return f"{int(request_id, 16) ^ (1 << 127):032x}"


def _wasting(outcome: Outcome, lost: Sequence[Outcome], estimate: int) -> Outcome:
    """With the tokens of the one that lost: those that it tells, else the estimate."""
    if not isinstance(outcome, Result):
        return outcome
    told = [out.usage for out in lost if isinstance(out, Result | RequestAborted)]
    counted = sum(usage.prefill_tokens + usage.decode_tokens for usage in told)
    guessed = 0 if told else estimate
    usage = outcome.usage
    usage = replace(
        usage,
        wasted_tokens=usage.wasted_tokens + counted + guessed,
        estimated_tokens=usage.estimated_tokens + guessed,
    )
    return replace(outcome, usage=usage)
