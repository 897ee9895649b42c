"""A client that goes away frees its query within a second: over a real process, and in an engine's
pages."""

import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import teola as tl
from teola.runner import default_runner

sys.path.insert(0, str(Path(__file__).parent))

from app_process import HERE, Process, apps_process
from leaving import leave_when

RUN, CHAT = "/v1/apps/ask/runs", "/v1/chat/completions"
TEXT = re.compile(r'"type":"text"|"content":"[^"]')
NAMES = ("free", "tree")
# The real engine's planner and pages; its text ends where it is told to, as no random model's does.
ENDLESS = "emulated:h100/llama-3.1-8b?tokenizer=bytes&output_tokens=60000&kv_tokens=65536"
Serve = Callable[..., Any]

both_routes = pytest.mark.parametrize("path", [RUN, CHAT])
both_ways = pytest.mark.parametrize("streams", [False, True])


def body_of(path: str, text: str, streams: bool) -> dict[str, Any]:
    if path == RUN:
        return {"arguments": {"question": text}, "stream": streams}
    return {"model": "ask", "messages": [{"role": "user", "content": text}], "stream": streams}


def leave(url: str, path: str, streams: bool, text: str = "long") -> None:
    """Ask, and go away when the answer has begun to be written."""
    body = body_of(path, text, streams)
    if not streams:
        leave_when(url, path, body, lambda: num_pieces(url) > 1)
        return
    with httpx.stream("POST", url + path, json=body, timeout=60) as answer:
        assert any(TEXT.search(line) for line in answer.iter_lines())


def num_pieces(url: str) -> int:
    """Of the texts that are being written."""
    runs = httpx.get(f"{url}/v1/runs", timeout=60).json()["data"]
    return sum(run["progress"]["text_pieces"] for run in runs)


def soon(is_true: Callable[[], bool]) -> None:
    """Within a second or two, unless the machine is busy."""
    end_s = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < end_s, "it never came true"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with apps_process(f"{HERE}/process_apps.py:ask") as process:
        yield process


@pytest.mark.server
@both_routes
@both_ways
def test_a_client_that_leaves_frees_its_query(server: Process, path: str, streams: bool) -> None:
    cancelled = 'teola_app_runs_total{app="ask",status="cancelled"}'
    aborted, decoded = "teola_requests_aborted_total", "teola_decoded_tokens_total"
    before = {line: server.metric(line) for line in (cancelled, aborted, decoded)}
    leave(server.url, path, streams)
    soon(lambda: server.metric(cancelled) == before[cancelled] + 1)
    soon(lambda: server.metric(decoded) > before[decoded])
    assert server.metric(decoded) < before[decoded] + 400  # of 500 words
    soon(lambda: server.metric(aborted) == before[aborted] + 1)
    assert server.metric("teola_num_requests_running") == 0


@both_routes
@both_ways
def test_a_client_that_leaves_frees_the_engines_sequence_and_its_kv(
    serve: Serve, path: str, streams: bool
) -> None:
    llm = tl.LLM(ENDLESS)

    @tl.prompt(llm, max_tokens=60_000)
    def write(question: str) -> str:
        return question

    @tl.app
    def ask(question: str) -> str:
        return write(question)

    def num_running(engine: Any) -> int:
        runner: Any = default_runner()
        counted = engine.between_steps(lambda core: len(core.planner.running))
        return int(runner._background.wait(counted))

    with serve(ask) as client:
        first = client.run("ask", arguments={"question": "loads it"}, background=True).json()
        soon(lambda: "teola_kv_free_pages" in client.http.get("/metrics").text)
        client.http.post(f"/v1/runs/{first['id']}/cancel")
        leave(client.url, path, streams)
        ((url, engine),) = [it for it in default_runner().engines if it[0] == llm.spec.url]
        soon(lambda: num_running(engine) == 0)
        free, tree = (client.metric(f'teola_kv_{n}_pages{{engine="{url}"}}') for n in NAMES)
        assert free + tree == engine.cache_stats().num_pages
        soon(lambda: client.metric("teola_decoded_tokens_total") > 0)
        default_runner().forget([llm.spec])
