"""Sweeps one engine: sizes and lengths are doubled until time is up, or until it no longer pays."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from backends.base import Engine, Outcome, Request, Result
from backends.errors import EngineError
from runtime.clock import now
from runtime.cost.curves import Curve, Row, Surface
from runtime.cost.latency import MEASURES

_RUNS = 5  # of one point; the fastest counts, for whatever else the machine does only adds
_POINT_SHARE = 0.03  # of the budget for the runs of one point, beyond the second
_LENGTHS = (100, 200, 400, 800, 1600, 3200)  # characters


@dataclass(frozen=True, slots=True)
class Measured:
    """One point, as it is told to whoever waits."""

    op: str
    size: int
    length: int
    seconds: float


Tell: TypeAlias = "Callable[[Measured], None]"
Run: TypeAlias = tuple[float, float]  # a size, and the seconds that it took
Measure: TypeAlias = "Callable[[Bench, int], AsyncIterator[Run]]"  # runs of a size, without end


class Bench:
    """Runs batches, watches the time, keeps points."""

    def __init__(self, engine: Engine, budget_s: float, tell: Tell) -> None:
        self.engine = engine
        self.began_s = now()
        self.budget_s = budget_s
        self._tell = tell

    def begin(self) -> None:
        """What was done so far does not count."""
        self.began_s = now()

    def until(self, share: float) -> float:
        """When this share of the budget will be spent."""
        return self.began_s + share * self.budget_s

    async def once(self, requests: Sequence[Request]) -> tuple[float, list[Result]]:
        """The seconds of one batch and what came of it."""
        began_s = now()
        outcomes: Sequence[Outcome] = await self.engine.execute(requests)
        took_s = now() - began_s
        results = []
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise EngineError(f"profiling {requests[0].op} failed: {outcome}") from outcome
            results.append(outcome)
        return took_s, results

    async def items(self, op: str, make: Callable[[int, int], Request]) -> Surface:
        """An op whose batch is so many items of one length; the typical length goes first."""
        typical = int(MEASURES[op][2])
        lengths = sorted(_LENGTHS, key=lambda length: (length != typical, length))
        await self.once([make(1, typical)])  # what is set up at the first use is no latency
        self.begin()
        rows = []
        for number, length in enumerate(lengths, start=1):
            rest = max(0.0, self.until(1.0) - now()) / (len(lengths) - number + 2)
            until_s = self.until(0.4) if number == 1 else now() + 2 * rest
            sizes = doubling(1, self.engine.info.max_batch_items)
            curve = await self.sweep(op, length, sizes, until_s, batch_of(make, length))
            rows += [Row(float(length), curve)] if curve is not None else []
        return surface(rows)

    async def sweep(
        self,
        op: str,
        length: int,
        sizes: Sequence[int],
        until_s: float,
        measure: Measure,
        is_batch: bool = True,
    ) -> Curve | None:
        """Seconds over size, until time is up or two doublings of a batch have gained nothing.

        None if there was no time for a single point.
        """
        points: list[tuple[float, float]] = []
        for size in sizes:
            began_s = now()
            if began_s >= until_s and points:
                break
            runs = []
            async for run in measure(self, size):
                runs.append(run)
                spent_s = now() - began_s
                is_enough = len(runs) > 1 and spent_s > _POINT_SHARE * self.budget_s
                if is_enough or len(runs) == _RUNS or now() + spent_s / len(runs) > until_s:
                    break
            if not runs:
                break
            points.append(min(runs, key=lambda run: run[1]))
            self._tell(Measured(op, size, length, points[-1][1]))
            has_peaked = Curve.measured(points).efficient_batch() is not None
            run_s = (now() - began_s) / len(runs)
            if (is_batch and has_peaked) or now() + 2 * run_s > until_s:
                break
        return Curve.measured(points) if points else None


def batch_of(make: Callable[[int, int], Request], length: int) -> Measure:
    """Runs of batches of so many items, of this length."""

    async def measure(bench: Bench, size: int) -> AsyncIterator[Run]:
        while True:
            took_s, _ = await bench.once([make(size, length)])
            yield size, took_s

    return measure


def doubling(first: int, most: int) -> list[int]:
    """`first`, twice that, and so on, and the most there may be."""
    sizes = []
    while first < most:
        sizes.append(first)
        first *= 2
    return [*sizes, most]


def surface(rows: Sequence[Row]) -> Surface:
    """The rows in the order of their lengths."""
    return Surface(tuple(sorted(rows, key=lambda row: row.length)))


async def first(runs: AsyncIterator[Run]) -> None:
    """Run once, for what that leaves behind."""
    async for _ in runs:
        return
