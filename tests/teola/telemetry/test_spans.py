"""The spans of real runs, as an SDK's exporter gets them."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import traced_apps as apps
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind, StatusCode
from span_tools import Seen

import teola as tl
from samples.advanced_rag import rag
from teola.telemetry.measures import Measures
from teola.telemetry.spans import Spans

HERE = str(Path(__file__).parent)
FILES = [str(Path(__file__).parents[3] / "samples/data/sqlite")]


def test_a_run_is_one_tree_whose_links_are_the_edges_of_its_trace(
    seen: Seen, tmp_path: Path
) -> None:
    path = tmp_path / "rag.jsonl"
    with tl.fake():
        rag.using(otel=seen.otel, trace=str(path))("How long is SQLite supported?", FILES)
    (trace_of_run,) = tl.read_trace(path).traces
    root = seen.named("invoke_workflow rag")
    assert root.parent is None
    assert len(seen.under(root)) == len(trace_of_run.spans) == len(seen.spans) - 1
    nodes = {span.context.span_id: span.attributes["teola.node"] for span in seen.under(root)}
    links = {
        nodes[span.context.span_id]: tuple(nodes[link.context.span_id] for link in span.links)
        for span in seen.under(root)
    }
    assert links == {span.node: span.deps for span in trace_of_run.spans}
    assert sum(map(len, links.values())) >= len(links) - 2  # it is not a list of islands


def test_a_span_lasts_from_ready_to_end_inside_its_query(seen: Seen, tmp_path: Path) -> None:
    path = tmp_path / "chain.jsonl"
    apps.chain.using(otel=seen.otel, trace=str(path))("Why?")
    (of_file,) = tl.read_trace(path).traces
    root = seen.named("invoke_workflow chain")
    for span in of_file.spans:
        own = seen.at(span.node)
        assert root.start_time <= own.start_time <= own.end_time <= root.end_time
        assert (own.end_time - own.start_time) / 1e9 == pytest.approx(
            of_file.end_of(span) - span.ready_s, abs=2e-6
        )


def test_names_and_attributes_are_those_of_the_convention(seen: Seen) -> None:
    apps.chain.using(otel=seen.otel)("Why?")
    names = sorted(span.name for span in seen.spans)
    assert names == [
        "chat scripted",
        "chat scripted",
        "execute_tool shout",
        "invoke_workflow chain",
        "prefill scripted",
        "prefill scripted",
    ]
    said = seen.at("say").attributes
    assert said["gen_ai.operation.name"] == "chat"
    assert said["gen_ai.provider.name"] == "fake"
    assert said["gen_ai.request.model"] == said["llm.model_name"] == "scripted"
    assert said["gen_ai.request.max_tokens"] == 16
    assert said["gen_ai.request.temperature"] == 0.5
    assert said["gen_ai.usage.output_tokens"] == said["llm.token_count.completion"] > 0
    assert said["gen_ai.response.finish_reasons"] == ("stop",)
    assert 0 < said["gen_ai.response.time_to_first_chunk"] < 10
    assert said["openinference.span.kind"] == "LLM"
    assert str(said["code.file.path"]).endswith("traced_apps.py")
    assert seen.at("say.prompt").attributes["gen_ai.usage.input_tokens"] > 0
    assert seen.at("shout").attributes["gen_ai.tool.name"] == "shout"
    assert seen.at("shout").kind is SpanKind.INTERNAL
    root = seen.named("invoke_workflow chain").attributes
    assert (root["gen_ai.workflow.name"], root["openinference.span.kind"]) == ("chain", "CHAIN")


def test_retrieval_has_spans_of_its_own_kinds(seen: Seen) -> None:
    apps.find.using(otel=seen.otel)("ice")
    kinds = {span.name: span.attributes["openinference.span.kind"] for span in seen.spans}
    assert kinds["retrieval store"] == "RETRIEVER"
    assert [kind for name, kind in kinds.items() if name.startswith("embeddings")] == ["EMBEDDING"]
    assert kinds["ingest store"] == "CHAIN"


def test_the_items_of_a_map_have_a_span_each(seen: Seen) -> None:
    apps.each.using(otel=seen.otel)(["a", "b", "c"])
    chats = [span for span in seen.spans if span.name == "chat scripted"]
    assert len(chats) == 3
    assert len({span.attributes["teola.node"] for span in chats}) == 3


# What spans hold


def test_without_being_asked_no_span_holds_what_anybody_said(seen: Seen) -> None:
    with pytest.raises(tl.errors.NodeFailed):
        apps.fails.using(otel=seen.otel)("a very private question")
    held = " ".join(span.to_json() for span in seen.spans)
    assert apps.SECRET not in held
    assert "private question" not in held


def test_with_content_spans_hold_prompts_answers_and_arguments(seen_with_content: Seen) -> None:
    seen = seen_with_content
    answer = apps.chain.using(otel=seen.otel)("Why?")
    said = seen.at("say").attributes
    assert json.loads(str(said["gen_ai.input.messages"])) == [
        {"role": "user", "parts": [{"type": "text", "content": "Q: Why?"}]}
    ]
    (message,) = json.loads(str(said["gen_ai.output.messages"]))
    assert message["role"] == "assistant"
    written = message["parts"][0]["content"]
    assert said["output.value"] == said["llm.output_messages.0.message.content"] == written
    assert written in str(seen.at("shout").attributes["gen_ai.tool.call.arguments"])
    assert seen.at("shout").attributes["gen_ai.tool.call.result"] == written.upper()
    root = seen.named("invoke_workflow chain").attributes
    assert json.loads(str(root["input.value"])) == {"question": "Why?"}
    assert root["output.value"] == answer


def test_with_content_a_search_tells_what_it_found(seen_with_content: Seen) -> None:
    apps.find.using(otel=seen_with_content.otel)("ice")
    (search,) = [s for s in seen_with_content.spans if s.name == "retrieval store"]
    assert search.attributes["gen_ai.retrieval.query.text"] == "ice"
    (found,) = json.loads(str(search.attributes["gen_ai.retrieval.documents"]))
    assert set(found) == {"id", "score"}
    assert search.attributes["retrieval.documents.0.document.content"] in (
        "tea is hot",
        "ice is cold",
    )


def test_with_content_calls_of_tools_are_parts_of_their_messages(
    seen_with_content: Seen,
) -> None:
    seen = seen_with_content
    asks = tl.fake.tool_call("shout", text="tea")
    with tl.fake(apps.llm, {r"<\|tool\|>TEA": "done", "": asks}):
        assert apps.crier.using(otel=seen.otel)("Shout.") == "done"
    root = seen.named("invoke_agent crier")
    assert json.loads(str(root.attributes["input.value"]))["task"] == "Shout."
    first, last = [span for span in seen.under(root) if span.name == "chat"]
    (message,) = json.loads(str(first.attributes["gen_ai.output.messages"]))
    (part,) = message["parts"]
    assert (part["type"], part["name"]) == ("tool_call", "shout")
    assert json.loads(part["arguments"]) == {"text": "tea"}
    function = "llm.output_messages.0.message.tool_calls.0.tool_call.function"
    assert first.attributes[f"{function}.name"] == "shout"
    said = json.loads(str(last.attributes["gen_ai.input.messages"]))
    assert [each["role"] for each in said][-2:] == ["assistant", "tool"]
    assert said[-2]["parts"][0]["type"] == "tool_call"
    assert said[-1]["parts"][0]["content"] == "TEA"


@pytest.mark.parametrize(
    ("value", "is_held"),
    [("true", True), ("SPAN_ONLY", True), ("false", False), ("EVENT_ONLY", False), ("", False)],
)
def test_the_environment_asks_for_content(
    seen: Seen, monkeypatch: pytest.MonkeyPatch, value: str, is_held: bool
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", value)
    apps.chain.using(otel=seen.otel)("Why?")
    assert ("gen_ai.input.messages" in seen.at("say").attributes) is is_held


# Ends


def test_a_failure_is_the_status_of_its_span_and_of_the_run(seen_with_content: Seen) -> None:
    seen = seen_with_content
    with pytest.raises(tl.errors.NodeFailed):
        apps.fails.using(otel=seen.otel)("Why?")
    failed = seen.at("refuse")
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.attributes["error.type"] == "ValueError"
    assert apps.SECRET in str(failed.status.description)
    root = seen.named("invoke_workflow fails")
    assert root.attributes["error.type"] == "NodeFailed"
    assert seen.at("say").status.status_code is StatusCode.UNSET


def test_what_a_cancelled_run_stopped_is_cancelled(seen: Seen) -> None:
    async def main() -> None:
        apps.hanging.clear()
        running = asyncio.ensure_future(apps.hangs.using(otel=seen.otel).arun("Why?"))
        assert await asyncio.to_thread(apps.hanging.wait, 60)
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(main())
    seen.wait_for("invoke_workflow hangs")
    assert seen.at("hang").attributes["error.type"] == "cancelled"
    assert seen.at("hang").attributes["teola.stopped"] is True
    assert seen.named("invoke_workflow hangs").attributes["error.type"] == "QueryCancelled"


# Runs of other forms


def test_a_run_is_below_the_callers_span(seen: Seen) -> None:
    with seen.provider.get_tracer("user").start_as_current_span("request") as outer:
        apps.chain.using(otel=seen.otel)("Why?")
    root = seen.named("invoke_workflow chain")
    assert root.parent is not None
    assert root.parent.span_id == outer.get_span_context().span_id


def test_an_async_app_has_one_root_over_its_segments(seen: Seen) -> None:
    apps.by_turns.using(otel=seen.otel)("Why?")
    root = seen.named("invoke_workflow by_turns")
    assert len(seen.under(root)) == len(seen.spans) - 1 == 4


def test_an_app_inside_another_is_below_the_node_that_it_is(seen: Seen) -> None:
    apps.around.using(otel=seen.otel)("Why?")
    (call,) = [s for s in seen.spans if s.name == "execute_tool by_turns"]
    inner = seen.named("invoke_workflow by_turns")
    assert inner.parent is not None
    assert inner.parent.span_id == call.context.span_id
    assert len(seen.under(inner)) == 4
    assert len({span.context.trace_id for span in seen.spans}) == 1


def test_an_agent_is_invoked(seen: Seen) -> None:
    apps.clerk.using(otel=seen.otel)("Hello")
    root = seen.named("invoke_agent clerk")
    assert root.attributes["gen_ai.agent.name"] == "clerk"
    assert root.attributes["openinference.span.kind"] == "AGENT"


def test_each_run_of_a_batch_is_a_trace_of_its_own(seen: Seen) -> None:
    apps.chain.using(otel=seen.otel).batch(["a", "b"])
    apps.by_turns.using(otel=seen.otel).batch(["a", "b"])
    assert len({span.context.trace_id for span in seen.spans}) == 4


def test_a_streamed_run_has_spans_too(seen: Seen) -> None:
    events = [*apps.chain.using(otel=seen.otel).stream("Why?")]
    assert events[-1].kind == "done"
    assert seen.named("invoke_workflow chain").status.status_code is StatusCode.UNSET


def test_true_is_the_provider_of_the_process() -> None:
    assert trace.get_tracer_provider() is not None
    assert isinstance(apps.chain.using(otel=True)("Why?"), str)  # none is set: no spans, no error


def test_metrics_count_tokens_and_seconds() -> None:
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader]).get_meter("teola")
    own = Seen()
    spans = Spans(own.provider.get_tracer("t"), None, lambda event: 0.0, measures=Measures(meter))
    apps.chain.using(listener=spans)("Why?")
    spans.close()
    found = {
        metric.name: metric.data.data_points
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    usage = found["gen_ai.client.token.usage"]
    written = [p for p in usage if p.attributes["gen_ai.token.type"] == "output"]
    assert sum(point.sum for point in written) == sum(
        span.attributes.get("gen_ai.usage.output_tokens", 0) for span in own.spans
    )
    durations = found["gen_ai.client.operation.duration"]
    assert {p.attributes["gen_ai.operation.name"]: p.count for p in durations} == {
        "chat": 2,
        "prefill": 2,
    }


def test_without_the_option_nothing_of_opentelemetry_is_imported() -> None:
    program = (
        "import sys, traced_apps; traced_apps.chain('Why?'); "
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, HERE])}
    words = [sys.executable, "-c", program]
    found = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert found.stdout == "[]\n"


def test_what_goes_wrong_with_spans_fails_no_run(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(SpanProcessor):
        def on_start(self, span: object, parent_context: object = None) -> None:
            raise RuntimeError("a processor of the user's")

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Broken())
    for content in (False, True):
        answer = apps.chain.using(otel=tl.Otel(provider, content=content))("Why?")
        assert isinstance(answer, str)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "a processor of the user's" in caplog.text


def test_without_the_packages_the_error_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['opentelemetry.trace'] = None; import traced_apps as apps\n"
        "try: apps.chain.using(otel=True)('Why?')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, HERE])}
    words = [sys.executable, "-c", program]
    found = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert found.stdout.startswith("EngineUnavailable the package 'opentelemetry' is not installed")
    assert 'pip install "teola[otel]"' in found.stdout


@pytest.mark.parametrize("option", [3, "localhost:4318"])
def test_an_option_that_means_nothing_is_refused(option: object) -> None:
    with pytest.raises(tl.errors.ConfigError, match="OTLP receiver"):
        apps.chain.using(otel=option)("Why?")
