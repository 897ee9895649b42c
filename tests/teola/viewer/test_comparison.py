"""A run beside its plan, on the query of one second that is told in `viewer_query`."""

import pytest
from viewer_query import ABOUT, EVENTS, at, demo, drawn, ran, trace_of, write

from teola.viewer.comparison import Comparison, compare
from teola.viewer.comparison_page import comparison_page
from teola.viewer.model import Trace
from teola.viewer.reading import read_trace_file

PLAN = {
    "seconds": {
        "expand.prompt": 0.08,
        "expand": 0.3,
        "hits[].vector": 0.08,
        "hits[].search": 0.001,
        "answer.prompt": 0.05,
        "answer": 0.1,
    },
    "path": ["expand.prompt", "expand", "hits[].vector", "hits[].search", "answer"],
    "path_s": 0.5,
    "work_s": 0.692,
    "sources": {"llm": "profiled 2026-01-02", "store": "default"},
}


def planned() -> Trace:
    return trace_of([at(0, "query", **ABOUT, plan=PLAN), *EVENTS[1:]])


def compared(trace: Trace) -> Comparison:
    found = compare(trace)
    assert found is not None
    return found


def test_a_trace_without_a_plan_has_nothing_to_compare() -> None:
    assert compare(demo()) is None


def test_each_primitive_stands_beside_its_prediction() -> None:
    rows = {row.name: row for row in compared(planned()).primitives}

    assert rows["expand"].actual_s == pytest.approx(0.3)
    assert rows["expand"].ratio == pytest.approx(1.0)
    assert rows["answer"].ratio == pytest.approx(2.8)
    assert rows["expand.prompt"].queue_s == pytest.approx(0.01)


def test_a_device_is_busy_while_any_of_its_engines_runs() -> None:
    shared = {"devices": {"llm": "cpu", "embedder": "cpu"}, "device_s": {"cpu": 0.6}}
    told = at(0, "query", **ABOUT, plan={**PLAN, **shared, "bound_by": "cpu"})
    trace = trace_of([told, *EVENTS[1:]])
    found = compared(trace)
    (device,) = found.devices
    each_s = [trace.end_of(s) - trace.start_of(s) for s in trace.spans if s.engine == "llm"]
    assert (device.name, device.expected_s) == ("device cpu busy", 0.6)
    assert max(each_s) <= device.actual_s <= trace.duration_s
    assert "the plan expected to be bound by: cpu" in drawn(comparison_page(trace, 80), 80)


def test_the_runs_of_a_maps_body_are_added_up() -> None:
    row = next(row for row in compared(planned()).primitives if row.name == "hits[].search")

    assert (row.num_runs, row.expected_s) == (2, 0.002)
    assert row.actual_s == pytest.approx(0.04)
    assert row.queue_s == pytest.approx(0.1)


def test_a_call_is_all_its_primitives() -> None:
    rows = {row.name: row for row in compared(planned()).calls}

    assert rows["answer"].expected_s == pytest.approx(0.15)
    assert rows["answer"].actual_s == pytest.approx(0.33)


def test_the_whole_query_stands_beside_the_planned_critical_path() -> None:
    found = compared(planned())

    assert (found.path.expected_s, found.path.actual_s) == (0.5, 1.0)
    assert found.work.actual_s == pytest.approx(sum(row.actual_s for row in found.primitives))


def test_predictions_that_are_far_off_are_told_worst_first() -> None:
    assert [row.name for row in compared(planned()).far_off] == ["answer", "hits[].search"]


def test_short_primitives_are_never_far_off() -> None:
    quick = ran("expand.prompt", "prefill", "llm", (0.0, 0.0, 0.0001), 0)
    plan = {**PLAN, "seconds": {"expand.prompt": 0.004}}

    assert not compared(trace_of([at(0, "query", **ABOUT, plan=plan), *quick])).far_off


def test_loading_an_engine_is_no_queue_and_no_part_of_the_time() -> None:
    events = [
        at(0, "query", **ABOUT, plan=PLAN),
        at(0.0, "ready", "expand.prompt", "prefill", engine="llm", items=1),
        at(0.7, "start", "expand.prompt", "prefill", engine="llm", batch=0, load_s=0.6),
        at(0.8, "end", "expand.prompt", "prefill"),
        at(0.8, "done", status="ok"),
    ]
    found = compared(trace_of(events))

    assert found.path.actual_s == pytest.approx(0.2)
    assert found.primitives[0].queue_s == pytest.approx(0.1)
    assert found.load_s == 0.6


def test_pieces_of_one_batch_are_not_counted_twice() -> None:
    plan = {**PLAN, "seconds": {"v": 0.3}}
    events = [
        at(0, "query", **ABOUT, plan=plan),
        *ran("v#0", "embed", "e", (0.0, 0.0, 0.2), 0, batch_size=2),
        *ran("v#1", "embed", "e", (0.0, 0.0, 0.2), 0, batch_size=2),
        *ran("v#2", "embed", "e", (0.2, 0.2, 0.3), 1),
    ]
    (row,) = compared(trace_of(events)).primitives

    assert (row.name, row.num_runs) == ("v", 1)
    assert row.actual_s == pytest.approx(0.3)


def test_what_was_not_planned_is_only_counted() -> None:
    plan = {**PLAN, "seconds": {"expand": 0.3}}
    found = compared(trace_of([at(0, "query", **ABOUT, plan=plan), *EVENTS[1:]]))

    assert [row.name for row in found.primitives] == ["expand"]
    assert found.num_unplanned == 7


@pytest.mark.parametrize("width", [80, 100])
def test_the_page_fits_its_width_and_says_what_is_off(tmp_path, width: int) -> None:  # type: ignore[no-untyped-def]
    path = write(tmp_path / "t.jsonl", [at(0, "query", **ABOUT, plan=PLAN), *EVENTS[1:]])
    (trace,) = read_trace_file(path).traces
    page = drawn(comparison_page(trace, width), width)

    assert max(map(len, page.splitlines())) <= width
    assert "2 predictions off by more than 2 times: %answer, %hits[].search" in page
    assert "numbers of the plan: llm profiled 2026-01-02, store default" in page
