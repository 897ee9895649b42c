"""Why primitives waited: for their inputs, behind others at their engine, and for its steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.table import Table

from backends.served import Limit, Served
from runtime.waiting.slot_past import Why
from teola.viewer.formats import count, seconds
from teola.viewer.model import Span, Trace
from teola.viewer.tables import name_cell, number_table

WORTH_S = 0.001  # waits that are told
WHY: dict[Why, str] = {
    "slot": "it held the slot",
    "held": "throughput work goes last",
    "op": "its op had its turn",
    "turn": "its query had its turn",
    "group": "first of the task group",
    "rank": "it ranks first",
}
LIMITS: dict[Limit, str] = {
    "seats": "steps were full of sequences",
    "tokens": "steps were full of tokens",
    "pages": "the KV pool had no room",
}


@dataclass(frozen=True, slots=True)
class Cause:
    """A part of what a primitive waited, and the words that follow `0.30 s `."""

    seconds: float
    words: str


def causes(trace: Trace, span: Span) -> list[Cause]:
    """What a primitive waited for before its start, at its engine; the longest first."""
    whole_s = trace.queue_s(span)
    found = [Cause(span.load_s, "for the engine to load")] if span.load_s else []
    for each in span.wait.behind:
        mates = f" and {each.batch_size - 1} more in its batch" if each.batch_size > 1 else ""
        why = WHY.get(each.why, each.why)
        found.append(Cause(each.seconds, f"behind {each.at}{mates} ({why})"))
    if span.wait.num_more:
        batches = count(span.wait.num_more, "shorter batch", "shorter batches")
        found.append(Cause(span.wait.more_s, f"behind {batches}"))
    rest_s = whole_s - sum(cause.seconds for cause in found)
    if rest_s >= max(WORTH_S, whole_s / 20):
        found.append(Cause(rest_s, _rest(span)))
    return sorted(found, key=lambda cause: -cause.seconds)


def _rest(span: Span) -> str:
    if span.retries:
        return f"for {count(len(span.retries), 'failed try', 'failed tries')}"
    if span.start_s is None:
        return "and never started"
    return "for what this trace does not show, as a busy loop or a rate limit"


def engine_causes(served: Served) -> list[Cause]:
    """What it waited for inside the engine, where no step served it."""
    return [Cause(time_s, f"because {LIMITS.get(key, key)}") for key, time_s in served.limits]


def why_table(trace: Trace, limit: int) -> Table:
    """The primitives that waited, longest first; `limit` of them, 0 for all."""
    table = number_table("primitive", ["ready", "waited", "in the engine"], "most of it")
    waited = [span for span in trace.spans if _waited_s(trace, span) >= WORTH_S]
    waited.sort(key=lambda span: -_waited_s(trace, span))
    for span in waited[:limit] if limit else waited:
        served = span.served or Served()
        inside_s = served.queued_s + served.paused_s
        found = sorted([*causes(trace, span), *engine_causes(served)], key=lambda c: -c.seconds)
        table.add_row(
            name_cell(span.node, (f" {span.op}", "cyan")),
            seconds(span.ready_s),
            seconds(trace.queue_s(span)),
            seconds(inside_s) if inside_s else "",
            name_cell(*(f"{seconds(c.seconds)} {c.words}" for c in found[:1])),
        )
    return table


def why_lines(trace: Trace, span: Span) -> Iterator[str]:
    """Sentences about one primitive."""
    place = f"{span.op} on {span.engine}"
    yield f"{span.at or span.node}, {place}, {seconds(trace.run_s(span))} long"
    yield f"Its inputs were there at {seconds(span.ready_s)}{_last_input(trace, span)}."
    yield from wait_lines(trace, span)


def wait_lines(trace: Trace, span: Span) -> Iterator[str]:
    """Of these, what it waited for at its engine and inside it."""
    whole_s = trace.queue_s(span)
    if whole_s < WORTH_S:
        yield "It did not wait at its engine."
    else:
        yield f"It waited {seconds(whole_s)} at its engine:"
        yield from (f"  {seconds(each.seconds)} {each.words}" for each in causes(trace, span))
    if span.policy:
        left = count(span.num_waiting, "request")
        yield f"Its engine is ordered by {span.policy}; {left} stayed behind when it started."
    if span.served is not None:
        yield from _served_lines(span.served)


def _last_input(trace: Trace, span: Span) -> str:
    ends = {other.node: trace.end_of(other) for other in trace.spans if other.node in span.deps}
    last = max(ends, key=ends.__getitem__, default="")
    return f"; the last came from {last} at {seconds(ends[last])}" if last else ""


def _served_lines(served: Served) -> Iterator[str]:
    chunks = count(served.num_chunks, "chunk")
    prompt = f", its prompt in {chunks} of at most {served.largest_chunk:,} tokens"
    steps = f"{count(served.num_steps, 'step')} ({served.first_step:,} to {served.last_step:,})"
    yield f"The engine served it in {steps}{prompt if served.num_chunks else ''}."
    if served.queued_s >= WORTH_S:
        yield f"It waited {seconds(served.queued_s)} for the first of them."
    if served.num_paused:
        paused = count(served.num_paused, "step")
        yield f"It was paused for {paused} ({seconds(served.paused_s)})."
    yield from (f"  {seconds(each.seconds)} {each.words}" for each in engine_causes(served))
    if served.behind:
        others = ", ".join(f"{query} {seconds(time_s)}" for query, time_s in served.behind)
        yield f"  meanwhile the engine served: {others}"
    if served.num_preempted:
        times = count(served.num_preempted, "time")
        yield f"It lost its pages {times}, the last to {served.preempted_by}."


def _waited_s(trace: Trace, span: Span) -> float:
    served = span.served or Served()
    return trace.queue_s(span) + served.queued_s + served.paused_s
