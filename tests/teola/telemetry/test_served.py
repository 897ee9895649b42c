"""Trace context that comes in with requests, and that goes out with them."""

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import traced_apps as apps
import uvicorn
from opentelemetry.trace import SpanKind, StatusCode
from span_tools import Receiver, Seen

from backends.fake.llm import FakeLLM
from backends.fake.retrieval import FakeEmbedder
from teola.app_serving.app import make_app as make_apps
from teola.app_serving.service import AppService
from teola.serving.app import make_app
from teola.serving.listening import listen, url_of
from teola.serving.served_engines import ServedEngines

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@contextmanager
def listening(app: Any) -> Iterator[str]:
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def engines() -> ServedEngines:
    llm, embedder = FakeLLM("fake:talker", {}), FakeEmbedder("fake:vectors", {})
    engines = ServedEngines([("fake:talker", llm), ("fake:vectors", embedder)], 64)
    asyncio.run(engines.start())
    return engines


def post(url: str, path: str, body: Any, **headers: str) -> httpx.Response:
    return httpx.post(url + path, json=body, headers=headers)


def chat(url: str, **more: Any) -> httpx.Response:
    messages = [{"role": "user", "content": "a very private question"}]
    body = {"messages": messages, "max_tokens": 8, **more}
    return post(url, "/v1/chat/completions", body, traceparent=PARENT)


def test_a_server_of_engines_answers_below_its_clients_span(
    seen: Seen, engines: ServedEngines
) -> None:
    with listening(make_app(engines, otel=seen.otel)) as url:
        usage = chat(url).json()["usage"]
        seen.wait_for("chat talker")
    span = seen.named("chat talker")
    assert span.kind is SpanKind.SERVER
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT.split("-")[2]
    assert span.attributes["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert span.attributes["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
    assert span.attributes["http.response.status_code"] == 200
    assert "private" not in span.to_json()


def test_a_stream_tells_when_its_first_piece_was_sent(seen: Seen, engines: ServedEngines) -> None:
    with listening(make_app(engines, otel=seen.otel)) as url:
        chat(url, stream=True)
        seen.wait_for("chat talker")
    span = seen.named("chat talker")
    first_s = span.attributes["gen_ai.response.time_to_first_chunk"]
    assert 0 < first_s <= (span.end_time - span.start_time) / 1e9


def test_embeddings_and_refusals_have_spans_and_probes_have_none(
    seen: Seen, engines: ServedEngines
) -> None:
    with listening(make_app(engines, otel=seen.otel)) as url:
        post(url, "/v1/embeddings", {"input": ["a", "b"]})
        assert post(url, "/v1/embeddings", {}).status_code == 400
        httpx.get(f"{url}/health")
        seen.wait_for("POST /v1/embeddings")
    assert sorted(span.name for span in seen.spans) == [
        "POST /v1/embeddings",
        "embeddings vectors",
    ]
    refused = seen.named("POST /v1/embeddings")
    assert refused.attributes["error.type"] == "400"
    assert refused.status.status_code is StatusCode.UNSET  # the client's fault


@pytest.mark.parametrize("mode", ["openai", "teola"])
def test_a_remote_engine_is_sent_the_span_of_the_primitive(
    engines: ServedEngines, mode: str
) -> None:
    here, there = Seen(), Seen()
    with listening(make_app(engines, otel=there.otel)) as url:
        address = url.removeprefix("http://")
        remote = f"{mode}://{address}/{'v1/' if mode == 'openai' else ''}talker?tokenizer=server"
        remote = remote if mode == "teola" else remote.partition("?")[0]
        apps.chain.using(otel=here.otel, engines={"llm": remote})("Why?")
        there.wait_for("chat talker", 2)
    asked = {span.context.span_id: span for span in here.spans if span.name == "chat talker"}
    answered = [span for span in there.spans if span.name == "chat talker"]
    assert len(asked) == len(answered) == 2
    assert {span.parent.span_id for span in answered if span.parent} == set(asked)
    (address_seen,) = {span.attributes["server.address"] for span in asked.values()}
    assert address_seen == "127.0.0.1"
    assert {span.kind for span in asked.values()} == {SpanKind.CLIENT}


def test_a_remote_embedder_is_sent_the_span_too(engines: ServedEngines) -> None:
    here, there = Seen(), Seen()
    with listening(make_app(engines, otel=there.otel)) as url:
        remote = f"teola://{url.removeprefix('http://')}/vectors"
        apps.find.using(otel=here.otel, engines={"embedder": remote}, memo=False)("tea")
        there.wait_for("embeddings vectors")
    asked = {span.context.span_id for span in here.spans if span.name == "embeddings vectors"}
    assert {span.parent.span_id for span in there.spans if span.parent} <= asked
    assert len(asked) == 2


def test_a_service_of_apps_runs_below_its_clients_span(seen: Seen) -> None:
    service = AppService([apps.chain.using(otel=seen.otel), apps.by_turns.using(otel=seen.otel)], 4)
    asyncio.run(service.start())
    with listening(make_apps(service)) as url:
        for name in ("chain", "by_turns"):
            body = {"arguments": {"question": "Why?"}}
            answer = post(url, f"/v1/apps/{name}/runs", body, traceparent=PARENT)
            assert answer.json()["status"] == "completed"
            seen.wait_for(f"invoke_workflow {name}")
    for name in ("chain", "by_turns"):
        root = seen.named(f"invoke_workflow {name}")
        assert root.parent is not None
        assert f"{root.parent.trace_id:032x}" == TRACE
        assert f"{root.parent.span_id:016x}" == PARENT.split("-")[2]


def test_an_app_as_a_model_runs_below_its_clients_span_too(seen: Seen) -> None:
    service = AppService([apps.chain.using(otel=seen.otel)], 4)
    asyncio.run(service.start())
    with listening(make_apps(service)) as url:
        said = [{"role": "user", "content": "Why?"}]
        for stream in (False, True):
            body = {"model": "chain", "messages": said, "stream": stream}
            answer = post(url, "/v1/chat/completions", body, traceparent=PARENT)
            assert answer.status_code == 200
        seen.wait_for("invoke_workflow chain", 2)
    roots = [span for span in seen.spans if span.name == "invoke_workflow chain"]
    assert [f"{root.parent.trace_id:032x}" for root in roots if root.parent] == [TRACE, TRACE]


def test_without_the_option_a_service_makes_no_spans(seen: Seen) -> None:
    service = AppService([apps.chain], 4)
    asyncio.run(service.start())
    with listening(make_apps(service)) as url:
        body = {"arguments": {"question": "Why?"}}
        post(url, "/v1/apps/chain/runs", body, traceparent=PARENT)
    assert seen.spans == []


@pytest.mark.parametrize(
    ("words", "path", "body", "name"),
    [
        (
            ["serve-engine", "fake:talker"],
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "Why?"}], "max_tokens": 8},
            "chat talker",
        ),
        (
            ["serve", f"{Path(__file__).with_name('traced_apps.py')}:chain"],
            "/v1/apps/chain/runs",
            {"arguments": {"question": "Why?"}},
            "invoke_workflow chain",
        ),
    ],
    ids=["serve-engine", "serve"],
)
def test_servers_send_their_spans_before_they_end(
    receiver: Receiver, words: list[str], path: str, body: Any, name: str
) -> None:
    program = "from teola.cli.main import main; main()"
    server = subprocess.Popen(
        [sys.executable, "-c", program, *words, "--port", "0", "--otel", receiver.url],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr is not None
    try:
        ready = next(filter(None, (re.match(r"ready on (\S+)/v1", s) for s in server.stderr)))
        assert post(ready[1], path, body, traceparent=PARENT).status_code == 200
    finally:
        server.terminate()
        server.wait(30)
        server.stderr.close()
    (found,) = [span for span in receiver.spans if span.name == name]
    assert found.trace_id.hex() == TRACE
    assert found.parent_span_id.hex() == PARENT.split("-")[2]
