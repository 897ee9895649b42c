"""A trace file as Chrome's trace events, for ui.perfetto.dev: engines as processes, batches and
primitives as slices, queries as async slices, dataflow as arrows, queues as counters.

Slices of one track never overlap: what runs side by side has a track of its own.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from teola.viewer.formats import seconds
from teola.viewer.model import Span, Trace
from teola.viewer.reading import read_trace_file
from teola.viewer.why import causes

_QUERIES = 1  # the process of the queries; engines come after it
_ARROW_US = 0.002  # before the end of a slice, so that its arrow begins inside
_MIN_US = 0.004

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Slice:
    """A primitive that ran."""

    trace: Trace
    span: Span
    begin_us: float
    end_us: float


@dataclass(frozen=True, slots=True)
class _Batch:
    slices: tuple[_Slice, ...]

    @property
    def begin_us(self) -> float:
        return min(each.begin_us for each in self.slices)

    @property
    def end_us(self) -> float:
        return max(each.end_us for each in self.slices)


def write_chrome(path: Path, to: Path) -> int:
    """Write the trace file `path` in this form; how many events. Raises ValueError or OSError."""
    events = chrome_events(read_trace_file(path).traces)
    to.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}), encoding="utf-8")
    return len(events)


def chrome_events(traces: Sequence[Trace]) -> list[Json]:
    """In order of time, those without one first."""
    origin_s = min(trace.began_t for trace in traces)
    engines = dict.fromkeys(span.engine for trace in traces for span in trace.spans)
    pids = {engine: pid for pid, engine in enumerate(engines, start=_QUERIES + 1)}
    events = [_name(_QUERIES, "queries")]
    events += chain.from_iterable(_async_slice(trace, origin_s) for trace in traces)
    tracks: dict[tuple[str, str], int] = {}  # of a primitive, by query and path
    slices = [each for trace in traces for each in _slices(trace, origin_s)]
    for engine, pid in pids.items():
        own = [each for each in slices if each.span.engine == engine]
        events.append(_name(pid, f"engine {engine}"))
        events += _tracks(own, pid, tracks)
        events += _counters(traces, engine, pid, origin_s)
    events += _flows(slices, pids, tracks)
    return sorted(events, key=lambda event: (event.get("ts", -1.0), event["ph"] == "e"))


def _us(trace: Trace, at_s: float, origin_s: float) -> float:
    return round((trace.began_t - origin_s + at_s) * 1e6, 3)


def _slices(trace: Trace, origin_s: float) -> Iterator[_Slice]:
    for span in trace.spans:
        if span.start_s is not None:
            begin_us = _us(trace, span.start_s, origin_s)
            end_us = max(_us(trace, trace.end_of(span), origin_s), begin_us + _MIN_US)
            yield _Slice(trace, span, begin_us, round(end_us, 3))


def _name(pid: int, name: str, tid: int | None = None) -> Json:
    kind = "process_name" if tid is None else "thread_name"
    return {"ph": "M", "pid": pid, "tid": tid or 0, "name": kind, "args": {"name": name}}


# Queries


def _async_slice(trace: Trace, origin_s: float) -> Iterator[Json]:
    """The query, with what it waited for its engines beneath it."""
    about = {"query": trace.query, "status": trace.status, "optimized": trace.optimized}
    within = {"within": trace.within} if trace.within else {}
    begin_us, end_us = _us(trace, 0.0, origin_s), _us(trace, trace.duration_s, origin_s)
    yield from _pair(trace.query, trace.app, begin_us, end_us, "query", about | within)
    for number, span in enumerate(trace.spans):
        wait_us = _us(trace, span.ready_s, origin_s)
        start_us = _us(trace, trace.start_of(span), origin_s)
        if start_us > wait_us:
            name = f"{trace.query}.{number}"
            about = {"node": span.node, "engine": span.engine, **_why(trace, span)}
            yield from _pair(name, f"{span.node} waits", wait_us, start_us, "wait", about)


def _why(trace: Trace, span: Span) -> Json:
    """What it waited for, in words; the policy of its engine."""
    found = [f"{seconds(cause.seconds)} {cause.words}" for cause in causes(trace, span)]
    policy = {"policy": span.policy} if span.policy else {}
    return policy | ({"why": found} if found else {})


def _pair(
    own_id: str, name: str, begin_us: float, end_us: float, category: str, args: Json
) -> Iterator[Json]:
    head = {"cat": category, "id": own_id, "name": name, "pid": _QUERIES, "tid": 0}
    yield {**head, "ph": "b", "ts": begin_us, "args": args}
    yield {**head, "ph": "e", "ts": end_us}


# Engines


def _tracks(slices: Sequence[_Slice], pid: int, tracks: dict[tuple[str, str], int]) -> list[Json]:
    """Batches on tracks of their own, above those of their primitives."""
    events: list[Json] = []
    batch_lanes, lanes = _Lanes(), _Lanes()
    for batch in sorted(_batches(slices), key=lambda each: each.begin_us):
        tid = 1 + batch_lanes.place(batch.begin_us, batch.end_us)
        events.append(_batch_event(batch, pid, tid))
    first = 1 + len(batch_lanes.ends)
    for each in sorted(slices, key=lambda each: each.begin_us):
        tid = first + lanes.place(each.begin_us, each.end_us)
        tracks[each.trace.query, each.span.node] = tid
        events.append(_slice_event(each, pid, tid))
    names = [f"batches {n}" for n in range(len(batch_lanes.ends))]
    names += [f"primitives {n}" for n in range(len(lanes.ends))]
    return [*(_name(pid, name, tid) for tid, name in enumerate(names, start=1)), *events]


class _Lanes:
    """Tracks, each as far as it is taken."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def place(self, begin_us: float, end_us: float) -> int:
        """The first that is free."""
        free = (lane for lane, end in enumerate(self.ends) if end <= begin_us)
        lane = next(free, len(self.ends))
        if lane == len(self.ends):
            self.ends.append(end_us)
        self.ends[lane] = end_us
        return lane


def _batches(slices: Iterable[_Slice]) -> list[_Batch]:
    by_number: dict[int | None, list[_Slice]] = {}
    for each in slices:
        by_number.setdefault(each.span.batch, []).append(each)
    return [_Batch(tuple(found)) for found in by_number.values()]


def _batch_event(batch: _Batch, pid: int, tid: int) -> Json:
    span = batch.slices[0].span
    return {
        "ph": "X",
        "cat": "batch",
        "name": f"batch {span.batch}",
        "pid": pid,
        "tid": tid,
        "ts": batch.begin_us,
        "dur": round(batch.end_us - batch.begin_us, 3),
        "args": {"op": span.op, "requests": span.batch_size},
    }


def _slice_event(each: _Slice, pid: int, tid: int) -> Json:
    span = each.span
    usage = {
        name: getattr(span.usage, name)
        for name in ("prefill_tokens", "cached_tokens", "decode_tokens", "num_items")
        if getattr(span.usage, name)
    }
    about = {"query": each.trace.query, "op": span.op, "call": span.call, "batch": span.batch}
    served = {} if span.served is None else {"served": span.served.fields}
    return {
        "ph": "X",
        "cat": "primitive",
        "name": span.node,
        "pid": pid,
        "tid": tid,
        "ts": each.begin_us,
        "dur": round(each.end_us - each.begin_us, 3),
        "args": {**about, **usage, **served, **({"error": span.error} if span.error else {})},
    }


def _counters(traces: Sequence[Trace], engine: str, pid: int, origin_s: float) -> Iterator[Json]:
    """How many primitives wait and run."""
    changes: dict[float, list[tuple[str, int]]] = {}
    for trace in traces:
        for span in trace.spans:
            if span.engine == engine:
                ready, start, end = span.ready_s, trace.start_of(span), trace.end_of(span)
                marks = [(ready, "waiting", 1), (start, "waiting", -1)]
                if span.start_s is not None:
                    marks += [(start, "running", 1), (end, "running", -1)]
                for at_s, name, by in marks:
                    changes.setdefault(_us(trace, at_s, origin_s), []).append((name, by))
    now = {"waiting": 0, "running": 0}
    for at_us in sorted(changes):
        for name, by in changes[at_us]:
            now[name] += by
        yield {"ph": "C", "pid": pid, "tid": 0, "name": "primitives", "ts": at_us, "args": {**now}}


# Dataflow


def _flows(
    slices: Sequence[_Slice], pids: dict[str, int], tracks: dict[tuple[str, str], int]
) -> Iterator[Json]:
    """An arrow from what a primitive waited for to where it runs."""
    found = {(each.trace.query, each.span.node): each for each in slices}
    numbers = count(1)
    for each in slices:
        for name in each.span.deps:
            before = found.get((each.trace.query, name))
            if before is None or before.begin_us > each.begin_us:
                continue
            # a stream is read while it is written: its arrow ends before its maker does
            leaves_us = min(before.end_us - _ARROW_US, each.begin_us)
            number = next(numbers)
            yield _flow("s", number, before, pids, tracks, round(leaves_us, 3))
            yield {**_flow("f", number, each, pids, tracks, each.begin_us), "bp": "e"}


def _flow(
    phase: str,
    number: int,
    at: _Slice,
    pids: dict[str, int],
    tracks: dict[tuple[str, str], int],
    ts: float,
) -> Json:
    return {
        "ph": phase,
        "cat": "dataflow",
        "name": "dataflow",
        "id": number,
        "pid": pids[at.span.engine],
        "tid": tracks[at.trace.query, at.span.node],
        "ts": ts,
    }
