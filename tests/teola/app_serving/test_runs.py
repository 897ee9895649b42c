"""Runs of apps over HTTP: results, events, arguments, failures."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import teola as tl
from backends.errors import EngineOverloaded, RequestTooLong
from frontend_dsl.markers import mark

sys.path.insert(0, str(Path(__file__).parent))

from service_apps import ask, block, fail, find, llm, measure, steps, twice, unblock, wait

Serve = Callable[..., Any]


def test_a_run_gives_the_result_its_tokens_and_its_time(serve: Serve) -> None:
    with tl.fake(llm, "Paris it is"), serve(ask) as client:
        answer = client.run("ask", arguments={"question": "the capital?"})
        assert answer.status_code == 200
        body = answer.json()
        assert (body["object"], body["app"], body["status"]) == ("run", "ask", "completed")
        assert (body["result"], body["error"]) == ("Paris it is", None)
        assert body["usage"]["completion_tokens"] == 3
        assert body["usage"]["prompt_tokens"] > 0
        assert 0 < body["seconds"] < 30
        assert client.http.get(f"/v1/runs/{body['id']}").json() == body


def test_a_stream_has_the_run_its_tokens_and_nodes_and_then_the_result(serve: Serve) -> None:
    with tl.fake(llm, {"Shorten": "it is", "Q": "Paris it is"}), serve(twice) as client:
        events = client.events("twice", question="the capital?")
    assert (events[0]["type"], events[0]["status"]) == ("run", "running")
    assert (events[-1]["type"], events[-1]["result"]) == ("result", "it is")
    assert events[0]["id"] == events[-1]["id"]
    final = [e["text"] for e in events if e["type"] == "text" and e["final"]]
    other = [e["text"] for e in events if e["type"] == "text" and not e["final"]]
    assert ("".join(final), "".join(other)) == ("it is", "Paris it is")
    nodes = {(e["node"], e["state"]) for e in events if e["type"] == "node"}
    assert {("say", "start"), ("say", "end"), ("shorten", "first_token")} <= nodes
    times = [e["t"] for e in events[1:-1]]
    assert times[0] == 0
    assert times == sorted(times)


def test_what_an_app_returns_becomes_json(serve: Serve) -> None:
    with serve(find) as client:
        result = client.run("find", arguments={"name": "Rome"}).json()["result"]
    assert result == {"place": {"name": "Rome", "size": 2}, "ratio": None}


@pytest.mark.parametrize(
    ("arguments", "param", "code"),
    [
        ({"tags": []}, "arguments.place", "missing_required_parameter"),
        ({"place": {"name": "x", "size": 0}, "tags": []}, "arguments.place.size", "invalid_value"),
        (
            {"place": {"name": "x", "size": 1}, "tags": ["a", 5]},
            "arguments.tags.1",
            "invalid_value",
        ),
        (
            {"place": {"name": "x", "size": 1}, "tags": [], "kind": 1},
            "arguments.kind",
            "unknown_parameter",
        ),
        ([], "arguments", "invalid_value"),
    ],
)
def test_a_wrong_argument_is_named(serve: Serve, arguments: Any, param: str, code: str) -> None:
    with serve(measure) as client:
        answer = client.run("measure", arguments=arguments)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code)


def test_a_text_that_looks_like_a_value_of_a_graph_is_refused_where_it_could_be_taken_for_one(
    serve: Serve,
) -> None:
    odd = f"a{mark(1)[:2]}b"
    with tl.fake(llm, "fine"), serve(ask, steps) as client:
        refused = client.run("steps", arguments={"question": odd})
        assert client.run("ask", arguments={"question": odd}).json()["result"] == "fine"
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "arguments.question")
    assert "U+001C" in error["message"]


def test_what_is_not_there_is_404(serve: Serve) -> None:
    with serve(ask) as client:
        assert client.run("rag").json()["error"]["code"] == "app_not_found"
        assert client.http.get("/v1/apps/rag").status_code == 404
        assert client.http.get("/v1/runs/run_0").json()["error"]["code"] == "run_not_found"
        assert client.http.post("/v1/runs/run_0/cancel").status_code == 404


def test_apps_are_described(serve: Serve) -> None:
    with serve(ask, wait) as client:
        listed = client.http.get("/v1/apps").json()["data"]
        assert [app["id"] for app in listed] == ["ask", "wait"]
        app = client.http.get("/v1/apps/ask").json()
    assert app == listed[0]
    assert app["description"] == "Answers a question."
    assert app["parameters"]["required"] == ["question"]
    assert app["parameters"]["properties"]["question"]["description"] == "What is asked."
    assert app["parameters"]["properties"]["style"]["enum"] == ["brief", "long"]
    assert app["result"] == {"type": "string"}


def test_a_failed_run_has_a_typed_error_and_harms_no_other(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with tl.fake(llm, "fine"), serve(ask, fail) as client:
        failed = client.run("fail", arguments={"question": "?"})
        assert failed.status_code == 500
        assert failed.headers["x-should-retry"] == "false"
        body = failed.json()
        assert body["status"] == "failed"
        assert body["error"] == {
            "message": f"fail: KeyError; see run {body['id']} in the server's log",
            "type": "server_error",
            "param": None,
            "code": "app_failed",
        }
        assert "Traceback" not in failed.text
        assert client.run("ask", arguments={"question": "?"}).json()["result"] == "fine"
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert body["id"] in record.getMessage()
    assert record.exc_info is not None


def test_a_failed_stream_ends_with_its_error(serve: Serve) -> None:
    with serve(fail) as client:
        last = client.events("fail", question="?")[-1]
    assert (last["type"], last["error"]["code"]) == ("error", "app_failed")


@pytest.mark.parametrize(
    ("error", "status", "code", "param"),
    [
        (RequestTooLong("9 tokens, 8 fit"), 400, "context_length_exceeded", "arguments"),
        (EngineOverloaded("full"), 429, "overloaded", None),
    ],
)
def test_what_an_engine_says_has_its_status(
    serve: Serve, error: Exception, status: int, code: str, param: str | None
) -> None:
    with tl.fake(llm, error), serve(ask) as client:
        answer = client.run("ask", arguments={"question": "?"})
    assert answer.status_code == status
    found = answer.json()["error"]
    assert (found["code"], found["param"]) == (code, param)


def test_a_run_that_takes_too_long_is_stopped(serve: Serve) -> None:
    with serve(wait, timeout_s=0.2) as client:
        answer = client.run("wait", arguments={"name": "long"})
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "run_timeout"


def test_an_app_that_blocks_its_loop_delays_no_other_answer(serve: Serve) -> None:
    unblock.clear()
    with serve(block) as client:
        run = client.run("block", arguments={"seconds": 60.0}, background=True).json()
        assert client.http.get("/health").status_code == 200
        assert client.http.get(f"/v1/runs/{run['id']}").json()["status"] == "running"
        unblock.set()
        path = f"/v1/runs/{run['id']}"
        assert client.until(path, lambda body: body["status"] != "running")["result"] == "blocked"


def test_a_long_body_is_read_and_checked(serve: Serve) -> None:
    with tl.fake(llm, "read"), serve(ask) as client:
        question = "word " * 20_000
        assert client.run("ask", arguments={"question": question}).json()["result"] == "read"
