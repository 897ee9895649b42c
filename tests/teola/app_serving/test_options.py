"""Each option of `teola serve` changes what a client can see; wrong ones are told in a line."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from app_process import HERE, TEOLA, Process, apps_process

pytestmark = pytest.mark.server
ASK, WAIT = f"{HERE}/process_apps.py:ask", f"{HERE}/process_apps.py:wait"
BROKEN = f"{HERE}/process_apps.py:broken"
RUN, WAIT_RUN = "/v1/apps/ask/runs", "/v1/apps/wait/runs"
ORIGIN = "https://chat.example"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "access.jsonl"


@pytest.fixture(scope="module")
def server(log: Path) -> Iterator[Process]:
    """With an option of each kind."""
    bounds = ["--max-runs", "1", "--max-body-mb", "0.01"]
    bounds += ["--max-body-items", "50", "--max-connections", "3"]
    times = ["--header-timeout", "1.5", "--body-timeout", "1.5"]
    words = ["--engine", "llm=fake:", "--cors", ORIGIN, "--allowed-host", "apps.example"]
    words += ["--access-log", str(log)]
    with apps_process(ASK, WAIT, *words, *bounds, *times, "--host", "127.0.0.2") as process:
        yield process


def run(server: Process, **arguments: object) -> httpx.Response:
    return httpx.post(server.url + RUN, json={"arguments": arguments}, timeout=60)


def address_of(server: Process) -> tuple[str, int]:
    url = httpx.URL(server.url)
    return url.host, url.port or 0


def test_engine_is_another_one(server: Process) -> None:
    result = run(server, question="what?").json()["result"]
    assert result.startswith("reply ")  # of the fake without a script


def test_show_errors_tells_what_exceptions_say() -> None:
    path, body = "/v1/apps/broken/runs", {"arguments": {"name": "x"}}
    with apps_process(BROKEN, "--show-errors") as open_, apps_process(BROKEN) as closed:
        shown = httpx.post(open_.url + path, json=body).json()["error"]
        hidden = httpx.post(closed.url + path, json=body)
    assert shown["message"] == "broken: RuntimeError: no database for x"
    assert hidden.status_code == 500
    assert "database" not in hidden.text


def test_host_is_where_it_listens(server: Process) -> None:
    assert server.url.startswith("http://127.0.0.2:")
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url.replace("127.0.0.2", "127.0.0.1") + "/health")


def test_cors_lets_pages_in(server: Process) -> None:
    asks = {"origin": ORIGIN, "access-control-request-method": "POST"}
    answer = httpx.options(server.url + RUN, headers=asks)
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    other = httpx.options(server.url + RUN, headers={**asks, "origin": "https://else.example"})
    assert "access-control-allow-origin" not in other.headers


def test_other_pages_and_names_are_refused(server: Process) -> None:
    simple = {"content-type": "text/plain"}
    body = '{"arguments": {"question": "what?"}}'
    for wrong in ({"origin": "https://else.example"}, {"host": "else.example"}):
        assert httpx.post(server.url + RUN, content=body, headers=simple | wrong).status_code == 403
    for right in ({}, {"origin": ORIGIN}, {"origin": server.url}, {"host": "apps.example"}):
        assert httpx.post(server.url + RUN, content=body, headers=simple | right).status_code == 200
    assert httpx.get(server.url + "/v1/runs", headers={"host": "else.example"}).status_code == 403


def test_max_runs_and_run_timeout_bound_runs() -> None:
    body = {"arguments": {"name": "x"}, "background": True}
    with apps_process(WAIT, "--max-runs", "1", "--run-timeout", "3") as server:
        first = httpx.post(server.url + WAIT_RUN, json=body).json()
        assert httpx.post(server.url + WAIT_RUN, json=body).status_code == 429
        ended = when_ended(server, first["id"])
        assert (ended["status"], ended["error"]["code"]) == ("failed", "run_timeout")
        assert httpx.post(server.url + WAIT_RUN, json=body).status_code == 202


def when_ended(server: Process, run_id: str) -> dict[str, Any]:
    """The run once it has ended, however busy the machine is."""
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        found: dict[str, Any] = httpx.get(f"{server.url}/v1/runs/{run_id}", timeout=60).json()
        if found["status"] not in ("queued", "running"):
            return found
        time.sleep(0.05)
    raise AssertionError(f"run {run_id} does not end")


def test_bodies_are_bounded_in_bytes_and_items(server: Process) -> None:
    assert run(server, question="x" * 9_000).status_code == 200
    assert run(server, question="x" * 11_000).status_code == 413
    refused = run(server, question=["x"] * 60)
    assert refused.status_code == 413
    assert "--max-body-items" in refused.json()["error"]["message"]


def test_slow_clients_are_ended(server: Process) -> None:
    head = f"POST {RUN} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n"
    for sent, status in (("GET /hea", b"408"), (head, b"408")):
        with socket.create_connection(address_of(server), timeout=30) as connection:
            connection.sendall(sent.encode())
            assert connection.recv(100).split()[1] == status


def test_max_connections_ends_the_longest_idle(server: Process) -> None:
    idle = [socket.create_connection(address_of(server), timeout=30) for _ in range(3)]
    assert httpx.get(f"{server.url}/health").status_code == 200
    assert idle[0].recv(100) == b""  # it made room
    for connection in idle:
        connection.close()


def test_the_access_log_has_a_line_a_request(server: Process, log: Path) -> None:
    httpx.get(f"{server.url}/v1/apps", headers={"x-request-id": "mine"})
    end_s = time.monotonic() + 30
    while "mine" not in log.read_text():  # another thread writes it
        assert time.monotonic() < end_s
        time.sleep(0.02)
    (found,) = [json.loads(line) for line in log.read_text().splitlines() if "mine" in line]
    assert (found["path"], found["status"]) == ("/v1/apps", 200)


@pytest.mark.parametrize("given", ["option", "variable"])
def test_the_key_and_the_port_are_those_given(given: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["--api-key", "secret"] if given == "option" else []
    environment = {} if given == "option" else {"TEOLA_API_KEY": "secret"}
    with apps_process(ASK, "--port", str(port), *words, **environment) as server:
        assert server.url == f"http://127.0.0.1:{port}"
        assert httpx.get(f"{server.url}/v1/apps").status_code == 401
        head = {"authorization": "Bearer secret"}
        assert httpx.get(f"{server.url}/v1/apps", headers=head).status_code == 200


def serve_in_vain(*words: str) -> tuple[int, list[str]]:
    """The exit code, and the lines that it said."""
    command = [str(TEOLA), "serve", *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == ""
    return ended.returncode, ended.stderr.splitlines()


def test_debug_shows_where_an_error_is_from() -> None:
    code, lines = serve_in_vain(ASK, "--cors", "chat", "--debug")
    assert code != 0
    assert any("Traceback" in line for line in lines)


def test_an_engine_that_can_never_run_ends_the_server_before_it_is_ready() -> None:
    code, lines = serve_in_vain(ASK, "--port", "0", "--engine", "llm=nope:model")
    assert code == 1
    assert lines[-1].startswith("error: engine 'llm': unknown scheme 'nope'")
    assert len(lines) == 2
    code, lines = serve_in_vain(ASK, "--port", "0", "--engine", "llm=local:nowhere")
    assert (code, "'local:nowhere' is neither a path" in lines[-1]) == (1, True)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, lines = serve_in_vain(ASK, "--port", str(port))
    assert code == 1
    assert lines == [f"error: cannot listen on 127.0.0.1:{port}: {lines[0].split(': ', 2)[2]}"]


def test_a_server_of_an_engine_that_is_away_is_warned_of() -> None:
    process = subprocess.Popen(
        [str(TEOLA), "serve", ASK, "--port", "0", "--engine", "llm=vllm://127.0.0.1:9/model"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        _, warning, ready = (process.stderr.readline() for _ in range(3))
        assert warning.startswith("engine 'llm' of ask(): ")
        assert ready.startswith("ready on ")
    finally:
        process.terminate()
        process.communicate(timeout=20)
