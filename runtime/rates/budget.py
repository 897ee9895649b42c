"""What an account may ask of its API now: both of its limits, over all queries."""

from dataclasses import dataclass

from backends.rate_limits import RateLimits, RateReport
from runtime.rates.meter import Meter
from runtime.rates.window import Entry


@dataclass(frozen=True, slots=True)
class Cost:
    """What work takes of each limit."""

    requests: float = 0.0
    tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Spent:
    """What was sent, until it is known what it took."""

    requests: Entry
    tokens: Entry


class Budget:
    """Two meters as one."""

    def __init__(self, limits: RateLimits) -> None:
        self._requests = Meter(limits.requests_per_minute)
        self._tokens = Meter(limits.tokens_per_minute)

    @property
    def request_s(self) -> float:
        """Seconds from one request to the next at the limit; 0 without one."""
        return self._requests.each_s

    def state(self, limits: RateLimits) -> None:
        """What the engine states by now."""
        self._requests.state(limits.requests_per_minute)
        self._tokens.state(limits.tokens_per_minute)

    def told(self, report: RateReport, now_s: float) -> None:
        """Go by what an answer of the API said."""
        self._requests.told(report.requests, now_s)
        self._tokens.told(report.tokens, now_s)

    def ready_at(self, cost: Cost, now_s: float) -> float:
        """When it may be sent, if nothing else is before."""
        return max(
            self._requests.ready_at(cost.requests, now_s) if cost.requests else now_s,
            self._tokens.ready_at(cost.tokens, now_s) if cost.tokens else now_s,
        )

    def fits_beside(self, cost: Cost, reserved: Cost, at_s: float, now_s: float) -> bool:
        """Whether `reserved` may still be sent at `at_s` if `cost` is sent now."""
        return _fits(self._requests, cost.requests, reserved.requests, at_s, now_s) and _fits(
            self._tokens, cost.tokens, reserved.tokens, at_s, now_s
        )

    def spend(self, cost: Cost, now_s: float) -> Spent:
        return Spent(
            self._requests.spend(cost.requests, now_s), self._tokens.spend(cost.tokens, now_s)
        )

    def correct(self, spent: Spent, cost: Cost) -> None:
        """What was sent took this."""
        self._requests.correct(spent.requests, cost.requests)
        self._tokens.correct(spent.tokens, cost.tokens)

    def restart(self, now_s: float) -> None:
        """What was sent so far reaches the API only now."""
        self._requests.restart(now_s)
        self._tokens.restart(now_s)


def _fits(meter: Meter, amount: float, reserved: float, at_s: float, now_s: float) -> bool:
    if not amount:
        return True
    return amount + meter.bounded(reserved) <= meter.spare_at(at_s, now_s)
