"""When a request is sent again, and after how long: full jitter.

Only where nothing can happen twice: there was no connection, the server said 429 or (with
Retry-After) 503, or the caller says that a repetition is harmless. Brooker, "Exponential backoff
and jitter", 2015.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from backends.errors import EngineError, EngineOverloaded
from backends.remote.errors import RateLimited, was_never_sent, was_reset

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 8.0


@dataclass(frozen=True, slots=True)
class Retry:
    """At most `retries` repetitions; `draw` gives random numbers in [0, 1)."""

    retries: int
    draw: Callable[[], float] = random.random

    def pause_s(
        self, error: EngineError, num_before: int, left_s: float, *, is_safe: bool
    ) -> float | None:
        """Seconds to wait after the failure; None: it stands. `num_before` repetitions were made,
        and `left_s` is left of the request's time."""
        if num_before >= self.retries or not _may_repeat(error, is_safe):
            return None
        pause_s = self.draw() * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**num_before)
        if isinstance(error, EngineOverloaded):
            pause_s += error.retry_after_s or 0.0
        return pause_s if pause_s < left_s else None


def _may_repeat(error: EngineError, is_safe: bool) -> bool:
    if isinstance(error, EngineOverloaded):
        return isinstance(error, RateLimited) or error.retry_after_s is not None or is_safe
    return was_never_sent(error) or (is_safe and was_reset(error))
