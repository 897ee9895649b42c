"""A run beside its plan: what each primitive and each call was expected to take, and what it took.

Times of waiting, for the engine or for its loading, are kept apart: the plan knows of neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from teola.viewer.critical_path import critical_path
from teola.viewer.model import Expected, Span, Trace, without_indices

FAR_OFF = 2.0  # a ratio beyond this, or below its inverse, is worth a look
WORTH_S = 0.005  # shorter ones are no matter, whatever their ratio


@dataclass(frozen=True, slots=True)
class Compared:
    """One thing that was planned: a primitive, a call, the critical path, or all the work."""

    name: str
    op: str
    num_runs: int  # how often it ran: a map's body once an item
    expected_s: float  # of all its runs
    actual_s: float
    queue_s: float  # of all its runs; without the loading of engines

    @property
    def ratio(self) -> float | None:
        """Actual over expected."""
        return self.actual_s / self.expected_s if self.expected_s > 0 else None

    @property
    def is_far_off(self) -> bool:
        ratio = self.ratio
        matters = max(self.actual_s, self.expected_s) >= WORTH_S
        return ratio is not None and matters and not 1 / FAR_OFF <= ratio <= FAR_OFF


@dataclass(frozen=True, slots=True)
class Comparison:
    """A finished run and its plan."""

    primitives: tuple[Compared, ...]  # by their paths in the plan, in the order they first ran
    calls: tuple[Compared, ...]
    path: Compared  # the critical paths: each its own
    work: Compared  # of all engines
    devices: tuple[Compared, ...]  # how long each was busy
    bound_by: str  # what the plan expected to decide the time: the critical path, or a device
    load_s: float
    num_unplanned: int  # primitives that ran and were not in the plan

    @property
    def far_off(self) -> tuple[Compared, ...]:
        """The primitives whose expectation was off by more than a factor of two, worst first."""
        found = [each for each in self.primitives if each.is_far_off]
        return tuple(sorted(found, key=lambda each: -abs(each.actual_s - each.expected_s)))


def compare(trace: Trace) -> Comparison | None:
    """The run beside its plan; None for a trace that does not hold one."""
    expected = trace.expected
    if expected is None:
        return None
    planned = [s for s in trace.spans if without_indices(s.node) in expected.seconds]
    steps = critical_path(trace).steps
    path_s = max(0.0, trace.duration_s - trace.load_s)
    queue_s = sum(_waited_s(trace, [step.span]) for step in steps)
    path = Compared("critical path", "", 1, expected.path_s, path_s, queue_s)
    primitives = _compared(trace, expected, planned, by_call=False)
    actual_s = sum(each.actual_s for each in primitives)
    work = Compared("engine work", "", 1, expected.work_s, actual_s, 0.0)
    return Comparison(
        primitives=primitives,
        calls=_compared(trace, expected, planned, by_call=True),
        path=path,
        work=work,
        devices=tuple(_device(trace, expected, name) for name in expected.device_s),
        bound_by=expected.bound_by,
        load_s=trace.load_s,
        num_unplanned=len(trace.spans) - len(planned),
    )


def _device(trace: Trace, expected: Expected, name: str) -> Compared:
    ran = [span for span in trace.spans if expected.devices.get(span.engine) == name]
    busy_s = _busy_s(trace, ran)
    return Compared(f"device {name} busy", "", 1, expected.device_s[name], busy_s, 0.0)


def _compared(
    trace: Trace, expected: Expected, spans: Iterable[Span], by_call: bool
) -> tuple[Compared, ...]:
    groups: dict[str, list[Span]] = {}
    for span in spans:
        key = span.call if by_call else without_indices(span.node)
        groups.setdefault(key, []).append(span)
    return tuple(_of_group(trace, expected, name, each) for name, each in groups.items())


def _of_group(trace: Trace, expected: Expected, name: str, spans: Sequence[Span]) -> Compared:
    runs = _runs(spans)
    ops = dict.fromkeys(span.op for span in spans)
    return Compared(
        name=name,
        op=", ".join(ops),
        num_runs=len(runs),
        expected_s=sum(expected.seconds[without_indices(path)] for path in runs),
        actual_s=sum(_busy_s(trace, pieces) for pieces in runs.values()),
        queue_s=sum(_waited_s(trace, pieces) for pieces in runs.values()),
    )


def _runs(spans: Iterable[Span]) -> Mapping[str, list[Span]]:
    """The spans of each run of a primitive: one, or its pieces."""
    runs: dict[str, list[Span]] = {}
    for span in spans:
        runs.setdefault(span.node.partition("#")[0], []).append(span)
    return runs


def _busy_s(trace: Trace, pieces: Iterable[Span]) -> float:
    """Seconds in which any of the pieces ran: those of one batch ran at the same time."""
    return _covered_s((trace.start_of(s), trace.end_of(s)) for s in pieces)


def _waited_s(trace: Trace, pieces: Sequence[Span]) -> float:
    """Seconds in which a piece waited, and not for the engine to load, while none ran."""
    present_s = _covered_s((s.ready_s, trace.end_of(s)) for s in pieces)
    load_s = max((s.load_s for s in pieces), default=0.0)
    return max(0.0, present_s - _busy_s(trace, pieces) - load_s)


def _covered_s(intervals: Iterable[tuple[float, float]]) -> float:
    covered_s = until_s = 0.0
    for start_s, end_s in sorted(intervals):
        covered_s += max(0.0, end_s - max(start_s, until_s))
        until_s = max(until_s, end_s)
    return covered_s
