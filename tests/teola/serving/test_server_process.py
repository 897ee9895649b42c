"""`teola serve-engine` as a process: start, disconnects, signals."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.server

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]
REPLIES = json.dumps({"hello": " ".join(["word"] * 1000)})  # 50 s
SLOW = ("fake:", "--option", f"replies={REPLIES}", "--option", "token_s=0.05")


@pytest.fixture(scope="module")
def server(serve: Callable[..., Any]) -> Iterator[Any]:
    with serve(*SLOW, "--name", "slow", "--embedder", "fake:") as process:
        yield process


def wait_until(is_true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < end_s, "it never came true"
        time.sleep(0.02)


def test_options_names_and_engines_come_from_the_command_line(server: Any) -> None:
    cards = httpx.get(f"{server.url}/v1/models").json()["data"]

    assert [(card["id"], card["kind"]) for card in cards] == [
        ("slow", "llm"),
        ("fake:", "embedder"),
    ]


def test_a_stream_comes_piece_by_piece(server: Any) -> None:
    body = {"messages": HELLO, "stream": True}
    with httpx.stream("POST", server.url + CHAT, json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        words = (line for line in answer.iter_lines() if "word" in line)
        next(words)
        assert server.metric("teola_num_requests_running") == 1
        assert sum(next(words).count("word") for _ in range(5)) < 500
    wait_until(lambda: server.metric("teola_num_requests_running") == 0)
    body["max_tokens"] = 20
    whole = httpx.post(server.url + CHAT, json=body, timeout=60).text
    assert whole.count("word") == 20


def stop_reading(server: Any) -> None:
    body = {"messages": HELLO, "stream": True}
    with httpx.stream("POST", server.url + CHAT, json=body) as answer:
        assert any("word" in line for line in answer.iter_lines())


def stop_waiting(server: Any) -> None:
    body = json.dumps({"messages": HELLO}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    url = httpx.URL(server.url)
    with socket.create_connection((url.host, url.port or 0), timeout=60) as client:
        client.sendall(head.encode() + body)
        wait_until(lambda: server.metric("teola_num_requests_running") == 1)


@pytest.mark.parametrize("go_away", [stop_reading, stop_waiting])
def test_a_client_that_goes_away_stops_its_answer(
    server: Any, go_away: Callable[[Any], None]
) -> None:
    wait_until(lambda: server.metric("teola_num_requests_running") == 0)
    before = server.metric("teola_requests_aborted_total")
    decoded = server.metric("teola_decoded_tokens_total")
    go_away(server)

    wait_until(lambda: server.metric("teola_requests_aborted_total") == before + 1)
    wait_until(lambda: server.metric("teola_num_requests_running") == 0)
    wait_until(lambda: server.metric("teola_decoded_tokens_total") > decoded)
    assert server.metric("teola_decoded_tokens_total") < decoded + 900  # of 1000 in the answer


def under_way(server: Any) -> float:
    names = ("teola_num_requests_waiting", "teola_num_requests_running")
    return float(sum(map(server.metric, names)))


def is_refused(url: str) -> bool:
    """Whether the server takes no connection any more."""
    try:
        httpx.get(f"{url}/health", timeout=60)
    except httpx.TransportError:
        return True
    return False


def test_sigterm_lets_running_answers_end_and_takes_no_new_ones(serve: Callable[..., Any]) -> None:
    with serve(*SLOW) as server:
        answers: list[Any] = []

        def ask() -> None:
            body = {"messages": HELLO, "max_tokens": 20}
            answers.append(httpx.post(server.url + CHAT, json=body, timeout=60))

        thread = threading.Thread(target=ask)
        thread.start()
        wait_until(lambda: server.metric("teola_num_requests_running") == 1 or bool(answers))
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: is_refused(server.url))
        thread.join()
        assert server.process.wait(30) == 0

    assert answers[0].json()["usage"]["completion_tokens"] == 20


def test_an_embedder_is_served_alone(serve: Callable[..., Any]) -> None:
    with serve("--embedder", "fake:") as server:
        body = {"input": "hello"}
        answer = httpx.post(server.url + "/v1/embeddings", json=body, timeout=20)
        assert answer.json()["data"][0]["embedding"]
        refused = httpx.post(server.url + CHAT, json={"messages": HELLO}, timeout=20)
        assert (refused.status_code, "start it with the URL" in refused.text) == (404, True)


def test_a_drain_that_ends_answers_streams_with_an_error_event_and_others_with_503(
    serve: Callable[..., Any],
) -> None:
    with serve(*SLOW, "--drain", "1", "--option", "token_s=1") as server:
        whole: list[httpx.Response] = []

        def ask() -> None:
            whole.append(httpx.post(server.url + CHAT, json={"messages": HELLO}, timeout=60))

        thread = threading.Thread(target=ask)
        thread.start()
        wait_until(lambda: under_way(server) == 1)
        body = {"messages": HELLO, "stream": True}
        with httpx.stream("POST", server.url + CHAT, json=body, timeout=60) as answer:
            lines = answer.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            *_, error, _, done, _ = lines
        assert server.process.wait(30) == 0  # 1000 s of answer were left
        thread.join()
        said = server.process.stderr.read()
    assert json.loads(error.removeprefix("data: "))["error"]["code"] == "engine_unavailable"
    assert done == "data: [DONE]"
    assert whole[0].status_code == 503
    assert said == ""


def test_a_second_signal_ends_answers_with_an_error_and_one_line_in_the_log(
    serve: Callable[..., Any],
) -> None:
    with serve(*SLOW, "--option", "token_s=1") as server:
        whole: list[httpx.Response] = []

        def ask() -> None:
            whole.append(httpx.post(server.url + CHAT, json={"messages": HELLO}, timeout=60))

        thread = threading.Thread(target=ask)
        thread.start()
        body = {"messages": HELLO, "stream": True}
        with httpx.stream("POST", server.url + CHAT, json=body, timeout=60) as answer:
            lines = answer.iter_lines()
            next(lines)
            wait_until(lambda: server.metric("teola_num_requests_running") == 2)
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: is_refused(server.url))
            server.process.send_signal(signal.SIGTERM)
            *_, error, _, done, _ = lines
        assert server.process.wait(20) == 0  # 40 s of answer were left
        thread.join()
        said = server.process.stderr.read()
    assert json.loads(error.removeprefix("data: "))["error"]["code"] == "engine_unavailable"
    assert done == "data: [DONE]"
    assert whole[0].status_code == 503
    assert said == "WARNING:  ended what still ran: 2 answers\n"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["nope:model"], 1, "unknown scheme 'nope'"),
        (["fake:", "--option", "speed=9"], 1, "unknown option 'speed'"),
        (["fake:", "--option", "speed"], 2, "write NAME=VALUE"),
        (["fake:", "--option", "embedder.latency_s=1"], 2, "there is no --embedder"),
        (["--option", "token_s=1"], 2, "name something to serve"),
        (["--embedder", "fake:", "--option", "token_s=1"], 2, "there is no LLM"),
        (["fake:", "--api-key", ""], 2, "the key is empty"),
        (["local:/no/such/model.gguf"], 1, "/no/such/model.gguf"),
        (["fake:", "--port", "PORT"], 1, "cannot listen on 127.0.0.1"),
    ],
)
def test_what_cannot_be_served_ends_the_command_with_one_message(
    words: list[str], code: int, says: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        given = [port if word == "PORT" else word for word in words]
        if "PORT" not in words:
            given += ["--port", "0"]
        done = subprocess.run(
            [str(Path(sys.executable).parent / "teola"), "serve-engine", *given],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_key_of_the_environment_is_refused() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "teola"), "serve-engine", "nope:", "--port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "TEOLA_API_KEY": ""},
    )

    assert done.returncode == 2
    assert "the key is empty" in done.stderr
