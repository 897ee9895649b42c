"""How many repetitions an engine is asked for: a share of its requests, so that they add little to
the load of one that fails (the token bucket of Finagle and gRPC)."""

SHARE = 0.1  # of the requests may be sent again
LEAST = 10.0  # that are free after a quiet time
MOST = 100.0
REFILL_S = 2.0  # a repetition comes back in this time, up to the least


class RetryBudget:
    """Of one engine. Uses only the times passed in."""

    def __init__(self) -> None:
        self._left = LEAST
        self._at_s: float | None = None

    def sent(self) -> None:
        """A request was sent for the first time."""
        if self._left < MOST:
            self._left = min(MOST, self._left + SHARE)

    def take(self, now_s: float) -> bool:
        """Whether one more repetition is within the budget, which it is then counted in."""
        if self._at_s is not None and self._left < LEAST:
            self._left = min(LEAST, self._left + (now_s - self._at_s) / REFILL_S)
        self._at_s = now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
