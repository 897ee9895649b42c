"""When queries come: as a Poisson process, or as in a trace."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice, takewhile
from random import Random

from backends.emulated.traces import TraceRow, read_trace
from backends.errors import ConfigError

QUERIES = 100  # where neither a number nor a duration nor a trace says how many


@dataclass(frozen=True, slots=True)
class Arrival:
    """A query that comes."""

    at_s: float
    row: TraceRow | None = None  # of the trace


@dataclass(frozen=True, slots=True)
class Load:
    """What comes, of which `arrivals` is the same list for equal loads."""

    rate: float | None = None  # queries a second; None: the trace's
    num_queries: int | None = None
    duration_s: float | None = None
    trace: str | None = None
    seed: int = 0

    def arrivals(self) -> Iterator[Arrival]:
        """In the order of their times. Raises ConfigError for a load that says too little."""
        self._check()
        rows = () if self.trace is None else read_trace(self.trace)
        endless = _as_recorded(rows, self.rate) if _is_timed(rows) else self._poisson(rows)
        limit_s = self.duration_s
        if limit_s is not None:
            endless = takewhile(lambda arrival: arrival.at_s < limit_s, endless)
        return islice(endless, self._most(rows))

    def _check(self) -> None:
        if self.rate is not None and not self.rate > 0:
            raise ConfigError(f"a rate is above 0, not {self.rate:g}")
        if self.num_queries is not None and self.num_queries < 1:
            raise ConfigError(f"a load has at least one query, not {self.num_queries}")
        if self.duration_s is not None and not self.duration_s > 0:
            raise ConfigError(f"a duration is above 0 seconds, not {self.duration_s:g}")
        if self.trace is None and self.rate is None:
            raise ConfigError("say how often queries come: a rate a second, or a trace")
        if self.rate is None and not _is_timed(read_trace(self.trace or "")):
            raise ConfigError(f"trace {self.trace}: it tells no times, so say a rate a second")

    def _most(self, rows: Sequence[TraceRow]) -> int | None:
        if self.num_queries is not None or self.duration_s is not None:
            return self.num_queries
        return len(rows) or QUERIES

    def _poisson(self, rows: Sequence[TraceRow]) -> Iterator[Arrival]:
        draw, at_s = Random(f"arrivals {self.seed}"), 0.0
        assert self.rate is not None, "checked"
        for number in count():
            at_s += draw.expovariate(self.rate)
            yield Arrival(at_s, rows[number % len(rows)] if rows else None)


def _is_timed(rows: Sequence[TraceRow]) -> bool:
    return bool(rows) and rows[0].at_s is not None


def _as_recorded(rows: Sequence[TraceRow], rate: float | None) -> Iterator[Arrival]:
    """The trace again and again, its times stretched to the rate."""
    times = [row.at_s or 0.0 for row in rows]
    round_s = times[-1] * len(rows) / max(1, len(rows) - 1)  # with a mean gap before the next one
    if rate is not None and not round_s:
        raise ConfigError("all requests of the trace come at once: it has no rate to change")
    scale = 1.0 if rate is None else len(rows) / round_s / rate
    for turn in count():
        for row, at_s in zip(rows, times, strict=True):
            yield Arrival((turn * round_s + at_s) * scale, row)
