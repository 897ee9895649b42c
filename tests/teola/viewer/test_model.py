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


def test_a_span_keeps_its_text_where_the_trace_has_it() -> None:
    pieces = [at(0.8, "text", "answer", "decode", text=text, final=True) for text in ("two ", "it")]
    events = sorted([*EVENTS, *pieces], key=lambda event: event.t)

    assert {span.node: span.text for span in trace_of(events).spans if span.text} == {
        "answer": "two it"
    }


def test_a_span_keeps_its_failed_tries_and_why_it_ended() -> None:
    retry = at(0.45, "retry", "hits[0].vector", "embed", error="EngineUnavailable: x", after_s=0.1)
    cut = replace(EVENTS[-2], fields={**EVENTS[-2].fields, "finish_reason": "length"})
    events = sorted([*EVENTS[:-2], cut, EVENTS[-1], retry], key=lambda event: event.t)
    spans = {span.node: span for span in trace_of(events).spans}

    (only,) = spans["hits[0].vector"].retries
    assert (round(only.at_s, 6), only.error, only.after_s) == (0.45, "EngineUnavailable: x", 0.1)
    assert spans["answer"].finish_reason == "length"


def test_a_span_knows_its_line_of_the_graph() -> None:
    lines = {span.node: span.line for span in demo().spans}

    assert lines["hits[1].vector"] == '%vector = embed %q [engine="embedder"]'
    assert lines["answer.prompt"].startswith('%answer.prompt = prefill %c0 "Answer" %hits')
