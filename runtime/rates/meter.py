"""One limit of an account: what may be spent in a minute, and when.

It holds in every sliding minute of the scheduler's own requests. What the API says is left bounds
it further, since others may use the same account: that refills evenly, as the API said, and says
nothing about the time a minute later.
"""

from dataclasses import dataclass
from math import inf

from backends.rate_limits import Allowance
from runtime.rates.window import PERIOD_S, Entry, Window


@dataclass(slots=True)
class _Told:
    """What the API said is left, less what was spent since."""

    at_s: float
    left: float
    refill: float  # a second

    def left_at(self, at_s: float) -> float:
        age_s = at_s - self.at_s
        return inf if age_s >= PERIOD_S else self.left + self.refill * age_s

    def reaches_at(self, amount: float) -> float:
        if self.left >= amount:
            return self.at_s
        wait_s = (amount - self.left) / self.refill if self.refill > 0 else inf
        return self.at_s + min(wait_s, PERIOD_S)


class Meter:
    """Amounts larger than the whole limit count as all of it: they go alone."""

    def __init__(self, stated: float | None) -> None:
        self._stated = inf if stated is None else stated
        self._limit = self._stated
        self._window = Window()
        self._told: _Told | None = None

    @property
    def each_s(self) -> float:
        """Seconds from one unit to the next at the limit; 0 without a limit."""
        return PERIOD_S / self._limit if self._limit > 0 else 0.0

    def state(self, limit: float | None) -> None:
        """The limit that the engine states; what the API says may be less."""
        self._stated = inf if limit is None else limit
        self._limit = min(self._limit, self._stated) if self._told else self._stated

    def spare_at(self, at_s: float, now_s: float) -> float:
        """What may be spent then if nothing is before."""
        spare = inf if self._limit == inf else self._limit - self._window.used_at(at_s, now_s)
        return spare if self._told is None else min(spare, self._told.left_at(at_s))

    def ready_at(self, amount: float, now_s: float) -> float:
        """When so much may be spent."""
        amount = self.bounded(amount)
        at_s = now_s
        if self._limit < inf:
            at_s = self._window.falls_at(self._limit - amount, now_s)
        return at_s if self._told is None else max(at_s, self._told.reaches_at(amount))

    def bounded(self, amount: float) -> float:
        return min(amount, self._limit)

    def spend(self, amount: float, now_s: float) -> Entry:
        amount = self.bounded(amount)
        if self._told is not None:
            self._told.left -= amount
        return self._window.spend(amount, now_s)

    def correct(self, entry: Entry, amount: float) -> None:
        """What was spent is known better now. What the API says is left has it already."""
        self._window.correct(entry, amount)

    def restart(self, now_s: float) -> None:
        """All that counts was spent only now."""
        self._window.restart(now_s)

    def told(self, allowance: Allowance, now_s: float) -> None:
        """Go by what an answer of the API said."""
        limit, left = allowance.limit, allowance.remaining
        if limit is not None and limit > 0:
            self._limit = min(self._stated, limit)
        if left is None or self._limit == inf:
            return
        whole = max(limit or self._limit, left)
        reset_s = allowance.reset_s or 0.0
        refill = (whole - left) / reset_s if reset_s > 0 else whole / PERIOD_S
        self._told = _Told(now_s, left, refill)
