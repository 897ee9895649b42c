"""Runs of several segments, and runs inside nodes, as one trace."""

from pathlib import Path
from typing import Any

import pytest
from viewer_query import drawn

import teola as tl
from runtime.events import Event
from teola.viewer.critical_path import critical_path
from teola.viewer.model import Trace
from teola.viewer.page import page
from teola.viewer.reading import read_trace_file
from teola.viewer.runs import RunBuilder
from teola.viewer.summary import run_summary

CALL = '<tool_call>{"name": "look", "arguments": {"what": "cats"}}</tool_call>'
llm = tl.LLM("fake:", replies={"found": "It is found.", "": CALL})
plain = tl.LLM("fake:", replies={"": "some words here"})


@tl.tool(pure=True)
def look(what: str) -> str:
    """Look."""
    return f"found {what}"


scout = tl.Agent("scout", llm, tools=[look], max_tokens=64)
helper = tl.Agent("helper", plain, max_tokens=16)


@tl.app
def wrapped(task: str) -> str:
    return helper(scout(task))


def event(t: float, kind: Any, query: str, node: str = "", **fields: Any) -> Event:
    return Event(t, kind, query, node, "decode" if node else "", fields)


def segment(query: str, node: str, begin: float, end: float, **fields: Any) -> list[Event]:
    return [
        event(begin, "query", query, app="demo", run="run 1", **fields),
        event(begin, "ready", query, node, engine="llm"),
        event(begin, "start", query, node, engine="llm", batch=1),
        event(end, "end", query, node, decode_tokens=3),
        event(end, "done", query, status="ok"),
    ]


def built(*events: Event) -> Trace:
    builder = RunBuilder()
    for each in sorted(events, key=lambda each: each.t):
        builder(each)
    return builder.trace()


def test_the_time_of_a_run_is_that_of_all_its_segments() -> None:
    trace = built(*segment("q1", "a", 5.0, 6.0), *segment("q2", "b", 6.5, 9.0))

    assert run_summary(trace).splitlines() == [
        "4.00 s, 0 prefilled, 0 cached, 6 decoded tokens, 2 primitives in 1 batch",
        "critical path: a 25% > b 75%",
    ]


def test_the_same_node_of_two_turns_is_shown_twice() -> None:
    trace = built(*segment("q1", "turn", 0.0, 1.0), *segment("q2", "turn", 1.0, 3.0))

    assert [span.node for span in trace.spans] == ["turn", "q2.turn"]
    assert [step.total_s for step in critical_path(trace).steps] == [1.0, 2.0]


def test_segments_side_by_side_do_not_add_up_on_the_critical_path() -> None:
    long, short = segment("q1", "plan", 0.0, 4.0), segment("q2", "task", 2.0, 5.0)
    path = critical_path(built(*long, *short))

    assert [(step.span.node, step.total_s) for step in path.steps] == [("plan", 2.0), ("task", 3.0)]


def test_a_segment_cancelled_at_the_end_of_its_app_is_no_failure_of_the_run() -> None:
    left = [event(0.0, "query", "q2", app="demo", run="run 1")]
    left += [event(3.0, "done", "q2", status="QueryCancelled", error="not awaited")]
    trace = built(*segment("q1", "a", 0.0, 2.0), *left)

    assert (trace.status, trace.error) == ("ok", "")


def test_a_failed_segment_is_the_failure_of_a_run() -> None:
    failed = [event(2.0, "query", "q2", app="demo", run="run 1")]
    failed += [event(2.5, "done", "q2", status="NodeFailed", error="no room")]
    trace = built(*segment("q1", "a", 0.0, 2.0), *failed)

    assert (trace.status, trace.error) == ("NodeFailed", "no room")


def test_spans_of_a_run_that_goes_on_are_seen_from_its_begin() -> None:
    builder = RunBuilder()
    for each in [*segment("q1", "a", 5.0, 6.0), *segment("q2", "b", 6.5, 9.0)]:
        builder(each)

    assert [(span.at, span.ready_s) for span in builder.spans] == [("q1.a", 0.0), ("q2.b", 1.5)]


@pytest.mark.parametrize("app", [scout, wrapped])
def test_the_summary_of_a_run_counts_all_that_ran_in_it(app: Any) -> None:
    builder = RunBuilder()
    ends: list[Event] = []

    def listen(heard: Event) -> None:
        builder(heard)
        if heard.kind == "end" and heard.op == "decode":
            ends.append(heard)

    app.using(listener=listen)("Find cats")
    decoded = sum(heard.fields["decode_tokens"] for heard in ends)
    path = critical_path(builder.trace())

    assert len(ends) == 2 + (app is wrapped)
    assert f"{decoded} decoded tokens" in run_summary(builder.trace())
    spent = sum(step.total_s for step in path.steps) + path.tail_s
    assert spent <= builder.trace().duration_s * 1.001


def test_a_trace_file_shows_a_run_of_several_segments_as_one(tmp_path: Path) -> None:
    scout.using(trace=str(tmp_path / "t.jsonl"))("Find cats")
    file = read_trace_file(tmp_path / "t.jsonl")

    assert len(file.traces) > 2
    (run,) = file.runs
    assert run.queries == tuple(trace.query for trace in file.traces)
    assert f"and {len(run.queries) - 1} more" in drawn(page(run, 100))


def test_what_an_agent_does_stands_under_its_node(tmp_path: Path) -> None:
    wrapped.using(trace=str(tmp_path / "t.jsonl"))("Find cats")
    outer, inner = read_trace_file(tmp_path / "t.jsonl").runs

    assert (outer.app, inner.app, inner.within) == ("wrapped", "scout", f"{outer.query}.scout")
    assert outer.inside == (inner,)
    shown = drawn(page(outer, 100))
    assert shown.index("scout") < shown.index("look") < shown.index("helper")


def test_two_runs_of_an_app_in_one_file_are_two(tmp_path: Path) -> None:
    scout.using(trace=str(tmp_path / "t.jsonl")).batch(["cats", "cats"])

    assert len(read_trace_file(tmp_path / "t.jsonl").runs) == 2
