"""Spans over HTTP to a receiver of OTLP, live and from trace files."""

import json
from pathlib import Path

import pytest
import traced_apps as apps
from span_tools import Receiver, Seen, receiving
from typer.testing import CliRunner

import teola as tl
from teola.cli.main import app as cli
from teola.telemetry.providers import flush
from teola.telemetry.saved import spans_of_file


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The trace file of a run."""
    path = tmp_path / "run.jsonl"
    apps.around.using(trace=str(path))("Why?")
    return path


def test_a_receiver_gets_the_spans_of_a_run(receiver: Receiver) -> None:
    apps.chain.using(otel=receiver.url)("Why?")
    flush()
    assert receiver.paths == ["/v1/traces"]
    (root,) = [span for span in receiver.spans if not span.parent_span_id]
    assert root.name == "invoke_workflow chain"
    assert len(receiver.spans) == 6
    assert {span.trace_id for span in receiver.spans} == {root.trace_id}
    links = {link.span_id for span in receiver.spans for link in span.links}
    assert links <= {span.span_id for span in receiver.spans} - {root.span_id}
    (resource,) = {
        request.resource_spans[0].resource.SerializeToString() for request in receiver.requests
    }
    assert b"service.name" in resource


def test_env_is_the_receiver_that_the_environment_names(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    apps.chain.using(otel="env")("Why?")
    flush()
    assert len(receiver.spans) == 6


def test_run_graph_sends_the_spans_of_a_run_that_fails(receiver: Receiver) -> None:
    target = f"{Path(__file__).with_name('traced_apps.py')}:fails"
    words = ["run", target, "--question", "Why?", "--otel", receiver.url, "--quiet"]
    assert CliRunner().invoke(cli, words).exit_code == 1
    flush()
    (root,) = [span for span in receiver.spans if not span.parent_span_id]
    assert root.status.code == 2


def test_a_saved_trace_gives_the_spans_of_the_live_run(tmp_path: Path, seen: Seen) -> None:
    path = tmp_path / "run.jsonl"
    apps.around.using(trace=str(path), otel=seen.otel)("Why?")
    later = spans_of_file(path)
    assert sorted(span.name for span in later) == sorted(span.name for span in seen.spans)

    def edges(spans: list) -> set[tuple[str, str]]:
        names = {span.context.span_id: span.attributes.get("teola.node", "") for span in spans}
        return {
            (names[link.context.span_id], names[span.context.span_id])
            for span in spans
            for link in span.links
        }

    def parents(spans: list) -> set[tuple[str, str]]:
        names = {span.context.span_id: span.name for span in spans}
        return {(names.get(s.parent.span_id, ""), s.name) for s in spans if s.parent}

    assert edges([*later]) == edges(seen.spans) != set()
    assert parents([*later]) == parents(seen.spans)
    by_node = {span.attributes.get("teola.node"): span for span in later}
    for span in seen.spans:
        if "teola.node" in span.attributes:
            own = by_node[span.attributes["teola.node"]]
            live_s, later_s = span.end_time - span.start_time, own.end_time - own.start_time
            assert abs(live_s - later_s) < 3_000
            usual = {k: v for k, v in span.attributes.items() if not isinstance(v, float)}
            assert usual == {k: v for k, v in own.attributes.items() if not isinstance(v, float)}


def test_a_saved_trace_is_sent_to_a_receiver(saved: Path, receiver: Receiver) -> None:
    result = CliRunner().invoke(cli, ["trace", str(saved), "--otlp", receiver.url])
    assert result.exit_code == 0, result.output
    assert f"{len(receiver.spans)} spans to {receiver.url}" in result.output
    assert {span.name for span in receiver.spans} >= {
        "invoke_workflow around",
        "invoke_workflow by_turns",
    }


def test_a_saved_trace_sent_twice_has_the_same_ids(saved: Path, receiver: Receiver) -> None:
    for _ in range(2):
        CliRunner().invoke(cli, ["trace", str(saved), "--otlp", receiver.url])
    first, second = receiver.requests
    assert first == second


def test_a_saved_trace_is_written_as_otlp_json(saved: Path, tmp_path: Path) -> None:
    to = tmp_path / "spans.jsonl"
    assert CliRunner().invoke(cli, ["trace", str(saved), "--otlp", str(to)]).exit_code == 0
    (line,) = to.read_text().splitlines()
    spans = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    ids = {span["spanId"] for span in spans}
    assert all(len(bytes.fromhex(each)) == 8 for each in ids)
    assert all(len(bytes.fromhex(span["traceId"])) == 16 for span in spans)
    linked = [link["spanId"] for span in spans for link in span.get("links", ())]
    assert linked
    assert ids.issuperset(linked)
    assert {span["kind"] for span in spans} == {1}  # a number, as OTLP has it: internal


def test_a_receiver_that_takes_nothing_is_named(saved: Path) -> None:
    with receiving(status=400) as wrong:
        result = CliRunner().invoke(cli, ["trace", str(saved), "--otlp", wrong.url])
    assert result.exit_code == 1
    assert f"{wrong.url} did not take the spans" in result.output


def test_a_file_that_is_no_trace_is_named(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text("")
    result = CliRunner().invoke(cli, ["trace", str(path), "--otlp", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "holds no query" in result.output


def test_a_url_without_a_scheme_is_refused() -> None:
    with pytest.raises(tl.errors.ConfigError, match="http://localhost:4318"):
        tl.Otel("localhost:4318")
