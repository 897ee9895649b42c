"""A circuit breaker for one endpoint: closed, open after failures, half-open for one probe.

While it is open nothing goes there. Each probe that fails doubles the pause, with full jitter on
the second half of it, so that many clients do not come back together.
"""

from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half-open"]

MAX_FAILURES = 3  # in a row
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


class Breaker:
    """`draw` gives random numbers in [0, 1)."""

    def __init__(self, draw: Callable[[], float], longest_pause_s: float = LONGEST_PAUSE_S) -> None:
        self.reason = ""  # of the last failure
        self._draw = draw
        self._longest_pause_s = longest_pause_s
        self._num_failures = 0  # since the last success
        self._num_pauses = 0  # since the last success
        self._retry_at_s: float | None = None  # None: closed
        self._is_probing = False

    def state(self, now_s: float) -> State:
        if self._retry_at_s is None:
            return "closed"
        return "open" if now_s < self._retry_at_s or self._is_probing else "half-open"

    @property
    def is_open(self) -> bool:
        """Whether anything but a probe is kept away."""
        return self._retry_at_s is not None

    @property
    def num_pauses(self) -> int:
        """Since the last success."""
        return self._num_pauses

    def retry_in_s(self, now_s: float) -> float:
        return max(0.0, (self._retry_at_s or now_s) - now_s)

    def begin_probe(self) -> None:
        """One request, or a question of our own, goes there now."""
        self._is_probing = True

    def drop_probe(self) -> None:
        """The probe ended and says nothing."""
        self._is_probing = False

    def succeeded(self) -> None:
        self._num_failures = self._num_pauses = 0
        self._retry_at_s = None
        self._is_probing = False

    def failed(self, reason: str, now_s: float, *, is_final: bool = False) -> bool:
        """Count a failure. True if that opens it; `is_final` opens it at once."""
        self.reason = reason
        self._num_failures += 1
        is_probe, self._is_probing = self._is_probing, False
        if self._retry_at_s is not None and not is_probe:
            return False  # of a request that was on its way when it opened
        if not (is_final or is_probe or self._num_failures >= MAX_FAILURES):
            return False
        pause_s = min(self._longest_pause_s, FIRST_PAUSE_S * 2**self._num_pauses)
        self._num_pauses += 1
        self._retry_at_s = now_s + pause_s * (0.5 + 0.5 * self._draw())
        return True
