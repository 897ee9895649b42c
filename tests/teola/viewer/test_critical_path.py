from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from viewer_query import EVENTS, at, demo, ran, trace_of

from runtime.events import Event
from teola.viewer.critical_path import critical_path
from teola.viewer.model import Span, Trace


def test_the_path_goes_back_over_the_dependency_that_ended_last() -> None:
    nodes = [step.span.node for step in critical_path(demo()).steps]

    assert nodes == [
        "expand.prompt",
        "expand",
        "hits[1].vector",
        "hits[1].search",
        "answer.prompt",
        "answer",
    ]


def test_the_time_of_a_step_is_cut_into_idle_queue_and_run() -> None:
    steps = {step.span.node: step for step in critical_path(demo()).steps}
    vector, search = steps["hits[1].vector"], steps["hits[1].search"]

    assert (vector.idle_s, vector.queue_s, vector.run_s) == pytest.approx((0.01, 0.01, 0.08))
    assert (search.idle_s, search.queue_s, search.run_s) == pytest.approx((0.0, 0.1, 0.02))


def test_what_follows_the_last_step_is_the_tail() -> None:
    assert critical_path(demo()).tail_s == pytest.approx(0.02)


def test_steps_of_one_call_count_together() -> None:
    shares = [(call, round(time, 6)) for call, time in critical_path(demo()).by_call]

    assert shares == [("expand", 0.4), ("map/search", 0.22), ("answer", 0.36)]


def test_a_primitive_fed_while_its_source_still_ran_starts_the_count_when_it_was_ready() -> None:
    piped = [event for event in EVENTS if event.node not in ("answer.prompt", "answer")]
    early = ran("answer.prompt", "prefill", "llm", (0.51, 0.52, 0.9), 2)
    path = critical_path(trace_of([*piped[:-1], *early, at(1.0, "done", status="ok")]))

    assert sum(step.total_s for step in path.steps) + path.tail_s == pytest.approx(1.0)


def test_a_query_without_primitives_is_all_tail() -> None:
    path = critical_path(trace_of([EVENTS[0], EVENTS[-1]]))

    assert (path.steps, path.tail_s) == ((), pytest.approx(1.0))


ORDER = [span.node for span in demo().spans]
TIMES = st.tuples(*[st.integers(0, 50)] * 3)


@given(st.lists(TIMES, min_size=len(ORDER), max_size=len(ORDER)), st.integers(0, 50))
def test_steps_and_tail_are_the_whole_query(times: list[tuple[int, int, int]], tail: int) -> None:
    trace = simulate(times, tail)
    path = critical_path(trace)

    assert sum(step.total_s for step in path.steps) + path.tail_s == pytest.approx(trace.duration_s)


def simulate(times: Sequence[tuple[int, int, int]], tail: int) -> Trace:
    """The demo with other idle, queue and run times, in milliseconds."""
    spans = {span.node: span for span in demo().spans}
    ends: dict[str, int] = {}
    events: list[Event] = []
    for node, (idle, queue, run) in zip(ORDER, times, strict=True):
        ready = max((ends[name] for name in spans[node].deps), default=0) + idle
        ends[node] = ready + queue + run
        at_ms = (ready, ready + queue, ends[node])
        moments = (at_ms[0] / 1000, at_ms[1] / 1000, at_ms[2] / 1000)
        events += ran(node, spans[node].op, spans[node].engine, moments, 0)
    done = at((max(ends.values()) + tail) / 1000, "done", status="ok")
    return trace_of([EVENTS[0], *events, done])


def test_a_piece_of_a_stream_does_not_wait_for_what_began_after_it() -> None:
    first = Span("m[0].s", "search", "store", "s", ready_s=0.0, start_s=0.0, end_s=1.0)
    late = Span("m[1].s", "search", "store", "s", ready_s=3.0, start_s=3.0, end_s=3.5)
    deps = ("m[0].s", "m[1].s")
    early = Span("r#0", "rerank", "r", "r", ready_s=1.0, start_s=1.0, end_s=4.0, deps=deps)
    path = critical_path(Trace("q", "app", duration_s=4.0, spans=(first, late, early)))
    assert [step.span.node for step in path.steps] == ["m[0].s", "r#0"]
    assert sum(step.total_s for step in path.steps) + path.tail_s == pytest.approx(4.0)
