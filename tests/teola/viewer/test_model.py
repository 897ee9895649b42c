from dataclasses import replace

from viewer_query import EVENTS, at, demo, trace_of

from teola.viewer.model import total_usage


def test_a_span_has_the_times_of_its_events_from_the_begin_of_the_query() -> None:
    span = next(span for span in demo().spans if span.node == "answer")

    times = (span.ready_s, span.start_s, span.first_token_s, span.end_s)
    assert [round(t, 6) for t in times if t is not None] == [0.7, 0.7, 0.72, 0.98]


def test_a_span_of_a_map_has_the_call_of_its_template() -> None:
    calls = {span.node: span.call for span in demo().spans}

    assert calls["hits[1].search"] == "map/search"


def test_a_span_of_unknown_origin_is_a_call_of_its_own() -> None:
    events = [replace(EVENTS[0], fields={**EVENTS[0].fields, "origins": {}}), *EVENTS[1:]]

    assert {span.call for span in trace_of(events).spans} >= {"expand", "hits[].search"}


def test_queue_and_run_time_are_those_between_the_events() -> None:
    trace = demo()
    span = next(span for span in trace.spans if span.node == "hits[1].search")

    assert (round(trace.queue_s(span), 6), round(trace.run_s(span), 6)) == (0.1, 0.02)


def test_the_tokens_of_a_query_are_those_of_its_spans() -> None:
    usage = total_usage(demo().spans)

    assert (usage.prefill_tokens, usage.cached_tokens, usage.decode_tokens) == (140, 60, 42)


def test_a_batch_of_several_requests_counts_once() -> None:
    assert demo().num_batches == 7


def test_a_primitive_that_never_ended_lasts_until_the_end_of_the_record() -> None:
    trace = trace_of([event for event in EVENTS if event.t <= 100.25])
    span = trace.spans[-1]

    assert span.node == "expand"
    assert not span.has_ended
    assert trace.end_of(span) == trace.duration_s


def test_a_failed_primitive_keeps_its_error_and_the_query_its_status() -> None:
    events = [event for event in EVENTS if event.t < 100.65]
    failed = at(0.65, "error", "answer.prompt", "prefill", error="EngineError: no room")
    trace = trace_of([*events, failed, at(0.65, "done", status="NodeFailed", error="%answer")])

    assert trace.spans[-1].error == "EngineError: no room"
    assert (trace.status, trace.error) == ("NodeFailed", "%answer")


def test_a_graph_that_cannot_be_read_is_a_warning() -> None:
    about = {**EVENTS[0].fields, "graph": "graph demo { %x = no"}
    trace = trace_of([replace(EVENTS[0], fields=about), *EVENTS[1:]])

    assert "cannot be read" in trace.warning
    assert len(trace.spans) == 8
