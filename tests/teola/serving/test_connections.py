"""A real server's sockets: slow, idle, too many and gone clients; request ids; the access log."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from backends.errors import ConfigError
from teola.serving.access_log import Access, AccessLog, open_log

pytestmark = pytest.mark.server

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]
LONG = json.dumps({"hello": "word " * 3000})
BOUNDS = ("--max-connections", "8", "--header-timeout", "2", "--body-timeout", "2")


@pytest.fixture(scope="module")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "access.jsonl"


@pytest.fixture(scope="module")
def server(serve: Callable[..., Any], log_file: Path) -> Iterator[Any]:
    words = ("fake:", "--option", f"replies={LONG}", "--max-body-mb", "0.5")
    with serve(*words, *BOUNDS, "--access-log", str(log_file)) as process:
        yield process


class Raw:
    """A socket that says what it is told."""

    def __init__(self, url: str, said: bytes = b"") -> None:
        host, port = url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        self.socket.sendall(said)

    def is_closed_within(self, seconds: float) -> bytes | None:
        """What it was told before the server closed it; None when it is open."""
        self.socket.settimeout(seconds)
        found = b""
        try:
            while piece := self.socket.recv(65536):
                found += piece
        except TimeoutError:
            return None
        except ConnectionError:
            return found
        return found


@pytest.fixture
def raw(server: Any) -> Iterator[Callable[..., Raw]]:
    made: list[Raw] = []

    def make(said: bytes = b"") -> Raw:
        made.append(Raw(server.url, said))
        return made[-1]

    yield make
    for one in made:
        one.socket.close()


def wait_until(is_true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < end_s, "it never came true"
        time.sleep(0.02)


def post_head(length: int, path: str = CHAT) -> bytes:
    return b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % (
        path.encode(),
        length,
    )


@pytest.mark.parametrize(
    "said", [b"", b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx: "]
)
def test_a_head_that_does_not_come_in_time_is_408_and_the_end(
    raw: Callable[..., Raw], said: bytes
) -> None:
    told = raw(said).is_closed_within(30)
    assert told is not None
    assert told.startswith(b"HTTP/1.1 408 ")


def test_a_second_request_on_a_connection_has_no_longer_for_its_head(
    raw: Callable[..., Raw],
) -> None:
    slow = raw(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\nGET /health HTT")
    told = slow.is_closed_within(30)
    assert told is not None
    assert told.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in told


def test_a_body_that_does_not_come_in_time_is_408(raw: Callable[..., Raw]) -> None:
    slow = raw(post_head(100) + b"{")
    assert slow.socket.recv(4096).startswith(b"HTTP/1.1 408 ")
    assert slow.is_closed_within(30) is not None  # after a moment to read the answer


def test_a_head_of_a_megabyte_is_431(raw: Callable[..., Raw]) -> None:
    told = raw(b"GET /health HTTP/1.1\r\n" + b"a: b\r\n" * 200_000).is_closed_within(30)
    assert told is not None
    assert told.startswith(b"HTTP/1.1 431 ")


def test_the_answer_to_a_body_that_is_too_large_is_read_before_the_end(
    raw: Callable[..., Raw],
) -> None:
    large = raw(post_head(50_000_000) + b" " * 1_000_000)
    assert large.socket.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_idle_and_slow_connections_make_room_for_new_ones(serve: Callable[..., Any]) -> None:
    patient = ("--max-connections", "8", "--header-timeout", "60", "--body-timeout", "60")
    with serve("fake:", *patient) as server, ExitStack() as at_end:

        def raw(said: bytes) -> Raw:
            made = Raw(server.url, said)
            at_end.enter_context(made.socket)
            return made

        slow = [raw(b"GET /hea") for _ in range(4)] + [raw(post_head(10)) for _ in range(4)]
        for _ in range(20):
            asked = raw(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            assert asked.socket.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert slow[0].is_closed_within(30) == b""  # and not for its head, which is a 408
        assert server.metric(r'teola_connections_closed_total\{reason="capacity"\}') > 0


def test_connections_whose_requests_are_answered_are_not_closed_for_new_ones(
    serve: Callable[..., Any],
) -> None:
    slow = ("--option", "token_s=0.1", "--option", f"replies={LONG}", "--max-connections", "2")
    with serve("fake:", *slow) as server, ExitStack() as at_end:
        body = {"messages": HELLO, "stream": True, "max_tokens": 40}
        streams = [
            at_end.enter_context(httpx.stream("POST", server.url + CHAT, json=body, timeout=60))
            for _ in range(2)
        ]
        lines = [stream.iter_lines() for stream in streams]
        for of_stream in lines:
            next(of_stream)
        refused = httpx.get(f"{server.url}/health", timeout=60)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert all("data: [DONE]" in list(of_stream) for of_stream in lines)


def test_clients_that_go_away_while_their_bodies_come_are_499s_without_a_traceback(
    server: Any, log_file: Path
) -> None:
    for _ in range(26):
        Raw(server.url, post_head(1000) + b"{").socket.close()
    wait_until(lambda: log_file.read_text().count('"status": 499') >= 26)
    assert httpx.get(f"{server.url}/health").status_code == 200


def test_an_answer_has_the_id_of_its_request_or_a_new_one(server: Any, log_file: Path) -> None:
    given = httpx.get(f"{server.url}/health", headers={"x-request-id": "abc-1"})
    made = httpx.get(f"{server.url}/v1/none", headers={"x-request-id": "a b"})
    other = httpx.get(f"{server.url}/health")
    assert given.headers["x-request-id"] == "abc-1"
    ids = {made.headers["x-request-id"], other.headers["x-request-id"]}
    assert len(ids) == 2
    assert all(len(name) == 32 for name in ids)


def lines_of(log_file: Path) -> list[Any]:
    return [json.loads(line) for line in log_file.read_text().splitlines()]


def test_the_access_log_has_a_line_for_each_request(server: Any, log_file: Path) -> None:
    body = {"messages": HELLO, "max_tokens": 3}
    answer = httpx.post(server.url + CHAT, json=body, headers={"x-request-id": "logged-1"})
    wait_until(lambda: "logged-1" in log_file.read_text())
    (line,) = [line for line in lines_of(log_file) if line["request_id"] == "logged-1"]
    assert (line["method"], line["path"], line["status"]) == ("POST", CHAT, 200)
    assert line["num_bytes"] == len(answer.content)
    assert 0 < line["first_s"] <= line["total_s"] < 60
    assert line["client"].startswith("127.0.0.1:")


def test_a_client_that_leaves_a_stream_is_a_499_in_the_access_log(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    slow = ("--option", "token_s=0.05", "--option", f"replies={LONG}")
    with serve("fake:", *slow, "--access-log", str(log)) as server:
        body = {"messages": HELLO, "stream": True}
        with httpx.stream("POST", server.url + CHAT, json=body) as answer:
            next(answer.iter_lines())
        wait_until(log.read_text)
        (line,) = lines_of(log)
        assert line["status"] == 499


def test_a_client_that_closes_its_half_has_gone_away(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    slow = ("--option", "token_s=0.05", "--option", f"replies={LONG}")
    with serve("fake:", *slow, "--access-log", str(log)) as server:
        body = json.dumps({"messages": HELLO}).encode()
        raw = Raw(server.url, post_head(len(body)) + body)
        wait_until(lambda: server.metric("teola_num_requests_running") > 0)
        raw.socket.shutdown(socket.SHUT_WR)
        assert raw.is_closed_within(30) == b""
        raw.socket.close()
        wait_until(lambda: '"status": 499' in log.read_text())
        wait_until(lambda: server.metric("teola_num_requests_running") == 0)


def an_access(number: int) -> Access:
    return Access(0.0, str(number), "", "GET", "/", 200, 0, None, 0.0)


class _Stuck(StringIO):
    """A disk that takes its time, or is full."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full = True

    def write(self, text: str) -> int:
        if self.is_full:
            self.is_full = False
            raise OSError("no space")
        return super().write(text)


def test_lines_that_could_not_be_written_are_counted_in_the_log() -> None:
    file = _Stuck()
    log = AccessLog(file)
    log.note(an_access(1))
    wait_until(lambda: not file.is_full)
    log.note(an_access(2))
    log.close()
    second, dropped = map(json.loads, file.getvalue().splitlines())
    assert (second["request_id"], dropped) == ("2", {"dropped_lines": 1})


def test_an_access_log_that_cannot_be_written_is_a_config_error(tmp_path: Path) -> None:
    with ExitStack() as at_end, pytest.raises(ConfigError, match="cannot write the access log"):
        open_log(str(tmp_path / "none" / "log"), at_end)


@pytest.mark.parametrize("wrong", [{"host": "else.example"}, {"origin": "https://else.example"}])
def test_other_names_and_pages_are_refused_unless_they_are_given(
    server: Any, wrong: dict[str, str]
) -> None:
    body = json.dumps({"messages": HELLO, "max_tokens": 1})
    refused = httpx.post(server.url + CHAT, content=body, headers=wrong)
    assert refused.status_code == 403
    assert httpx.post(server.url + CHAT, content=body).status_code == 200
