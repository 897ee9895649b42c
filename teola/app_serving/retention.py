"""How many ended runs a server keeps on the disk, and how long."""

from dataclasses import dataclass, field

DEFAULT_MOST_RUNS = 10_000
_DAY_S = 86_400.0
_SHARE = 20  # of the bound, that may come to an end before it is looked at again


@dataclass(slots=True)
class Retention:
    """Runs without an answer are kept in any case."""

    most_runs: int | None = DEFAULT_MOST_RUNS
    days: float | None = None
    _num_ended: int = field(default=0, init=False)

    def is_due(self) -> bool:
        """Asked once for each run that ended: whether it is time to look for old ones."""
        self._num_ended += 1
        every = max(1, min(self.most_runs or DEFAULT_MOST_RUNS, DEFAULT_MOST_RUNS) // _SHARE)
        return self._num_ended % every == 0

    def before_s(self, now_s: float) -> float | None:
        """What ended before is old."""
        return None if self.days is None else now_s - self.days * _DAY_S
