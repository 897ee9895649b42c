"""The rate limits of an API: what an engine states, and what the API's answers say of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What an account may ask of an API; None: as much as it likes."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None  # of prompts and outputs together


@dataclass(frozen=True, slots=True)
class Allowance:
    """What an answer said of one limit; None: nothing."""

    limit: float | None = None  # the whole of it
    remaining: float | None = None  # what was left of it
    reset_s: float | None = None  # until all of it is there again


@dataclass(frozen=True, slots=True)
class RateReport:
    """What an answer said of the account's limits (x-ratelimit-* headers)."""

    requests: Allowance = Allowance()
    tokens: Allowance = Allowance()


@runtime_checkable
class ReportsRates(Protocol):
    """What an engine of an API with rate limits offers beside the protocol of all."""

    def watch_rates(self, tell: Callable[[RateReport], None]) -> None:
        """From now on call `tell`, on the engine's loop, with what each answer says."""
