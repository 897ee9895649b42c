import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from teola.top.server import Server, root_of
from teola.top.views import Load, Work

sys.path.insert(0, str(Path(__file__).parent))
from stub_servers import StubServer, run_body


@pytest.fixture
def server(stub: StubServer) -> Iterator[Server]:
    """Asked once a second, by its clock."""
    seconds = count()
    server = Server(stub.url, clock=lambda: float(next(seconds)))
    yield server
    server.close()


def test_an_engine_has_its_load_and_from_the_second_look_on_a_rate(
    stub: StubServer, server: Server
) -> None:
    stub.is_engine(pieces=100)
    first = server.look()
    stub.is_engine(pieces=130)
    second = server.look()

    assert (first.kind, first.problem) == ("engine", "")
    assert first.load == Load(2, 3, None, hit_rate=0.25, kv_use=0.6)
    assert second.load == Load(2, 3, 30.0, hit_rate=0.25, kv_use=0.6)


def test_a_server_that_began_anew_has_no_rate_until_the_next_look(
    stub: StubServer, server: Server
) -> None:
    rates = []
    for pieces in (1000, 3, 8):
        stub.is_engine(pieces)
        load = server.look().load
        rates.append(load and load.tokens_per_s)

    assert rates == [None, None, 5.0]


def test_a_run_has_its_progress(stub: StubServer, server: Server) -> None:
    stub.has_runs(run_body())
    view = server.look()
    (run,) = view.runs

    assert (view.kind, run.app, run.age_s, run.done, run.total) == ("apps", "rag", 12.5, 2, 8)
    assert run.tokens == 12  # 7 of what ended, 5 of what is being written
    assert run.running[1] == Work("index.vectors", "embed", "embedder", 1.5)
    assert run.waiting == {"reranker": 2}
    assert view.load == Load(2, 2, None, hit_rate=0.25, kv_use=0.6)


def test_the_rate_of_apps_is_that_of_their_runs(stub: StubServer, server: Server) -> None:
    stub.has_runs(run_body(id="a"), run_body(id="gone"))
    server.look()
    stub.has_runs(run_body(id="a", progress={"text_pieces": 25}), run_body(id="b"))
    load = server.look().load

    assert load is not None
    assert load.tokens_per_s == 20 + 12


def test_a_key_is_sent_and_its_lack_is_said(stub: StubServer) -> None:
    stub.has_runs()
    stub.key = "secret"
    for key, problem in (("secret", ""), (None, "it wants another key")):
        server = Server(stub.url, key)
        assert server.look().problem.startswith(problem)
        server.close()


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ({}, "it is no server of teola"),
        ({"/metrics": (200, "vllm:num_requests_running 1")}, "it is no server of teola"),
        ({"/metrics": (200, "teola_decoded_tokens_total x")}, "its /metrics cannot be read"),
        ({"/v1/runs": (200, "<html>")}, "it is no server of teola, or one of another version"),
        ({"/v1/runs": (200, '{"data": [{}]}')}, "it is no server of teola, or one of another"),
        ({"/v1/runs": (500, "")}, "it answers 500 to /v1/runs"),
    ],
)
def test_what_cannot_be_shown_is_a_problem_and_no_error(
    stub: StubServer, server: Server, answers: Any, problem: str
) -> None:
    stub.answers = answers

    assert server.look().problem.startswith(problem)


def test_a_server_may_go_and_come_back() -> None:
    stub = StubServer()
    server = Server(stub.url)
    stub.is_engine()
    problems = [server.look().problem]
    stub.close()
    problems.append(server.look().problem)
    again = StubServer(stub.port)
    again.is_engine()
    problems.append(server.look().problem)
    again.close()
    server.close()

    assert problems == ["", "not answering", ""]


@pytest.mark.parametrize(
    "url", ["8000", "127.0.0.1:8000", "http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/"]
)
def test_a_url_may_be_short(url: str) -> None:
    assert root_of(url) == "http://127.0.0.1:8000"


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host:port"])
def test_what_is_no_url_is_named(url: str) -> None:
    with pytest.raises(ValueError, match=url):
        root_of(url)
