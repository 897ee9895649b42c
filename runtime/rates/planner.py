"""Takes from what waits at an engine only what its rate limits allow now.

What the policy puts first goes first. If it does not fit yet, the budget that it will need is
reserved: others go before it only where that does not delay it (EASY backfilling), so large
requests do not starve. The scheduler is woken when the first one fits.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from backends.base import Engine, EngineInfo, Outcome, Result
from backends.errors import EngineOverloaded, RequestRejected, RequestTooLong
from backends.rate_limits import RateLimits, RateReport, ReportsRates
from runtime.clock import now
from runtime.cost.api_tokens import Expected, TokenEstimate, actual_tokens
from runtime.job import Job
from runtime.ops.table import OP_RUNS
from runtime.rates.budget import Budget, Cost, Spent
from runtime.waiting.ready_queue import ReadyQueue

MAX_LOOKS = 16  # batches looked at for one that fits beside the first
MAX_REFUSALS = 20  # of one request, before that is its outcome
LONGEST_WAIT_S = 300.0  # an API that asks for more is not waited for


@dataclass(slots=True)
class _Sent:
    expected: Expected
    cost: Cost
    spent: Spent
    emit: Callable[[str], None] | None
    has_emitted: bool = False

    def noting(self, text: str) -> None:
        self.has_emitted = True
        assert self.emit is not None, "only a request that streams emits"
        self.emit(text)


@dataclass(frozen=True, slots=True)
class _Reserve:
    cost: Cost
    at_s: float


class RatePlanner:
    """Plans for one engine. All methods are called on its event loop."""

    def __init__(self, info: EngineInfo, wake: Callable[[], None]) -> None:
        self._is_one_call = info.kind == "embedder"  # a batch is one call of the API
        self._budget = Budget(info.rate_limits or RateLimits())
        self._wake = wake
        self._estimate = TokenEstimate()
        self._expected: dict[str, Expected | None] = {}  # of jobs that wait, by request id
        self._refusals: dict[str, int] = {}  # by request id
        self._sent: dict[str, _Sent] = {}  # by request id
        self._timer: asyncio.TimerHandle | None = None
        self._held_until_s = -inf
        self._width = inf  # requests at once: few after a refusal, more with each answer

    @property
    def request_s(self) -> float:
        """Seconds from one request to the next at the limit of requests; 0 without one."""
        return self._budget.request_s

    def opened(self, info: EngineInfo) -> None:
        """The engine is loaded: what waited for that is sent only now."""
        self._budget.state(info.rate_limits or RateLimits())
        self._budget.restart(now())

    def told(self, report: RateReport) -> None:
        """Go by what an answer of the API said."""
        self._budget.told(report, now())
        if self._timer is not None:
            self._wake()

    def take(self, queue: ReadyQueue[Job], max_items: int, now_s: float) -> Sequence[Job]:
        """The next batch; empty if nothing may be sent yet."""
        self.close()
        if now_s < self._held_until_s:
            self._wake_at(self._held_until_s)
            return ()
        if len(self._sent) >= self._width:
            return ()
        passed: list[Job] = []
        batch = self._choose(queue, max_items, now_s, passed)
        for job in passed:
            queue.put(job)
        return batch

    def settle(self, job: Job, outcome: Outcome) -> bool:
        """Note what a request took. True if it was refused for now, and waits once more."""
        sent = self._sent.pop(job.request.id, None)
        if sent is None:
            return False
        job.request.emit = sent.emit
        self._budget.correct(sent.spent, Cost(sent.cost.requests, self._took(sent, outcome)))
        if isinstance(outcome, EngineOverloaded) and outcome.retry_after_s is not None:
            return self._refused(job, sent, outcome.retry_after_s)
        self._refusals.pop(job.request.id, None)
        if isinstance(outcome, Result):
            self._width += 1
            self._estimate.observe(sent.expected, outcome)
        return False

    def unsent(self, job: Job) -> None:
        """A job that was taken was cancelled before it was sent."""
        sent = self._sent.pop(job.request.id, None)
        if sent is not None:
            self._budget.correct(sent.spent, Cost())
            self._wake()

    def left(self, job: Job) -> None:
        """A job that waits was cancelled: what was reserved for it is free."""
        self._expected.pop(job.request.id, None)
        self._refusals.pop(job.request.id, None)
        if self._timer is not None:
            self._wake()

    def close(self) -> None:
        """Wake nobody."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake_at(self, at_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_at(at_s, self._wake)

    def _choose(
        self, queue: ReadyQueue[Job], max_items: int, now_s: float, passed: list[Job]
    ) -> Sequence[Job]:
        reserve: _Reserve | None = None
        for _ in range(MAX_LOOKS):
            if not queue:
                break
            found = queue.take(max_items, now_s)
            batch = self._head(found, reserve, now_s)
            passed.extend(found[len(batch) :])
            if batch:
                self._send(batch, now_s)
                return batch
            if reserve is None:
                cost = self._cost(found[0], is_first=True)
                reserve = _Reserve(cost, self._budget.ready_at(cost, now_s))
                self._wake_at(reserve.at_s)
        return ()

    def _head(self, found: Sequence[Job], reserve: _Reserve | None, now_s: float) -> Sequence[Job]:
        """The longest head of a batch that may go now."""
        requests = tokens = 0.0
        for i, job in enumerate(found):
            cost = self._cost(job, is_first=i == 0)
            requests, tokens = requests + cost.requests, tokens + cost.tokens
            if not self._may_go(Cost(requests, tokens), i == 0, reserve, now_s):
                return found[:i]
        return found

    def _may_go(self, cost: Cost, is_lone: bool, reserve: _Reserve | None, now_s: float) -> bool:
        budget = self._budget
        if is_lone and reserve is None:
            return budget.ready_at(cost, now_s) <= now_s
        if not budget.fits_beside(cost, Cost(), now_s, now_s):
            return False
        return reserve is None or budget.fits_beside(cost, reserve.cost, reserve.at_s, now_s)

    def _cost(self, job: Job, *, is_first: bool) -> Cost:
        key = job.request.id
        if key not in self._expected:
            self._expected[key] = OP_RUNS[job.request.op].api_tokens(job.request)
        expected = self._expected[key]
        if expected is None:
            return Cost()
        return Cost(float(is_first or not self._is_one_call), self._estimate.tokens(expected))

    def _send(self, batch: Sequence[Job], now_s: float) -> None:
        for i, job in enumerate(batch):
            cost, request = self._cost(job, is_first=i == 0), job.request
            expected = self._expected.pop(request.id)
            if expected is None:
                continue
            sent = _Sent(expected, cost, self._budget.spend(cost, now_s), request.emit)
            self._sent[request.id] = sent
            if request.emit is not None:
                request.emit = sent.noting

    def _took(self, sent: _Sent, outcome: Outcome) -> float:
        """The tokens that the API counts for it, as far as that is known."""
        if isinstance(outcome, Result):
            return actual_tokens(outcome) or sent.cost.tokens
        if isinstance(outcome, EngineOverloaded | RequestRejected | RequestTooLong):
            return 0.0
        return self._estimate.prompt(sent.expected)

    def _refused(self, job: Job, sent: _Sent, after_s: float) -> bool:
        key = job.request.id
        num_refusals = self._refusals.pop(key, 0) + 1
        self._width = 1.0
        is_final = num_refusals > MAX_REFUSALS or after_s > LONGEST_WAIT_S
        if is_final or sent.has_emitted or job.is_cancelled:
            return False
        self._refusals[key] = num_refusals
        self._held_until_s = max(self._held_until_s, now() + after_s)
        return True


def rates_of(engine: Engine, wake: Callable[[], None]) -> RatePlanner | None:
    """A plan where the engine states rate limits, or tells what its API says of them."""
    if isinstance(engine, ReportsRates):
        rates = RatePlanner(engine.info, wake)
        engine.watch_rates(rates.told)
        return rates
    if engine.info.rate_limits is not None:
        return RatePlanner(engine.info, wake)
    return None
