"""Measured seconds over sizes: piecewise linear between the measured points, linear beyond them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

GROWTH = 0.1  # a larger batch must do at least so much more a second, or it is too large


@dataclass(frozen=True, slots=True)
class Curve:
    """Seconds over the size of a batch; a larger batch never takes less."""

    points: tuple[tuple[float, float], ...]  # (size, seconds), by size

    def __post_init__(self) -> None:
        if not self.points:
            raise ValueError("a curve needs at least one measured point")
        if any(size <= 0 or seconds < 0 for size, seconds in self.points):
            raise ValueError("sizes must be positive, seconds not negative")
        if any(a[0] >= b[0] or a[1] > b[1] for a, b in pairwise(self.points)):
            raise ValueError("points must be in order of their sizes, and seconds must not fall")

    @classmethod
    def measured(cls, points: Iterable[tuple[float, float]]) -> Curve:
        """A curve through points with noise: what a larger size did not exceed was disturbed."""
        least: dict[float, float] = {}
        for size, seconds in points:
            least[size] = min(seconds, least.get(size, seconds))
        kept: list[tuple[float, float]] = []
        bound = float("inf")
        for size in sorted(least, reverse=True):
            bound = min(bound, least[size])
            kept.append((size, bound))
        return cls(tuple(reversed(kept)))

    @classmethod
    def line(cls, base_s: float, each_s: float) -> Curve:
        """`base_s` a batch and `each_s` for each item of it."""
        return cls(((1.0, base_s + each_s), (2.0, base_s + 2 * each_s)))

    def seconds(self, size: float) -> float:
        """The seconds of a batch; below the least size that was measured, those of that one."""
        if size <= 0:
            return 0.0
        if size <= self.points[0][0]:
            return self.points[0][1]
        at = bisect_left(self.points, (size, 0.0))
        if at == len(self.points):
            last_size, last_s = self.points[-1]
            return last_s + (size - last_size) * self._slope_at_end()
        (a, a_s), (b, b_s) = self.points[at - 1 : at + 1]
        return a_s + (b_s - a_s) * (size - a) / (b - a)

    def _slope_at_end(self) -> float:
        """Over the last two doublings: one alone may be all noise."""
        size, seconds = self.points[-1]
        if len(self.points) == 1:
            return seconds / size
        from_size, from_s = self.points[-3] if len(self.points) > 2 else self.points[0]
        return (seconds - from_s) / (size - from_size)

    def best_batch(self, growth: float = GROWTH) -> int:
        """The last measured size, going up in doublings, that still does at least `growth` more a
        second than the last one that did."""
        best = self.points[0]
        for size, seconds in self.points[1:]:
            if size * best[1] >= best[0] * seconds * (1 + growth):
                best = (size, seconds)
        return max(1, int(best[0]))

    def efficient_batch(self, growth: float = GROWTH) -> int | None:
        """Teola's maximum efficient batch size: the best one, if two doublings gained no more.

        None where that is not known, since no larger batches were measured.
        """
        best = self.best_batch(growth)
        return best if self.points[-1][0] >= 4 * best else None


@dataclass(frozen=True, slots=True)
class Row:
    """The curve of items of one length."""

    length: float
    curve: Curve


@dataclass(frozen=True, slots=True)
class Surface:
    """Seconds over the size of a batch and the length of its items (see `latency.MEASURES`)."""

    rows: tuple[Row, ...]  # by length; they need not reach equally far

    def __post_init__(self) -> None:
        if not self.rows:
            raise ValueError("a surface needs at least one row")
        if any(a.length >= b.length for a, b in pairwise(self.rows)):
            raise ValueError("rows must be in order of their lengths")

    @classmethod
    def flat(cls, curve: Curve) -> Surface:
        """One curve for items of all lengths."""
        return cls((Row(0.0, curve),))

    def seconds(self, size: float, length: float) -> float:
        """Linear between and beyond the measured lengths; longer items never take less."""
        if len(self.rows) == 1 or length <= self.rows[0].length:
            return self.rows[0].curve.seconds(size)
        at = min(bisect_left([row.length for row in self.rows], length), len(self.rows) - 1)
        a, b = self.rows[at - 1 : at + 1]
        a_s, b_s = a.curve.seconds(size), b.curve.seconds(size)
        return a_s + max(0.0, b_s - a_s) * (length - a.length) / (b.length - a.length)

    def efficient_batch(self, growth: float = GROWTH) -> int | None:
        """The largest batch that pays at any measured length: short items ask for larger ones, and
        long ones lose nothing by them. None where a larger one than those known may pay."""
        known = [batch for row in self.rows if (batch := row.curve.efficient_batch(growth))]
        most = max(known, default=0)
        is_known = all(row.curve.best_batch(growth) <= most for row in self.rows)
        return most if is_known else None
