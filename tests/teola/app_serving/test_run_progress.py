"""What clients are told of a run while it runs."""

import sys
import threading
from pathlib import Path
from typing import Any

import teola as tl
from runtime.events import Event
from teola.app_serving.run_progress import MAX_SHOWN, RunProgress
from teola.top.server import Server

sys.path.insert(0, str(Path(__file__).parent))
from service_apps import llm, say, wait

go_on = threading.Event()


def told(*events: Event) -> dict[str, Any]:
    progress = RunProgress()
    for event in events:
        progress(event)
    return progress.body


def begun(*planned: str) -> Event:
    return Event(0.0, "query", "q", fields={"plan": {"seconds": dict.fromkeys(planned, 0.1)}})


def at(kind: Any, node: str, op: str = "decode", **fields: Any) -> Event:
    return Event(0.0, kind, "q", node, op, {"engine": "llm", **fields})


def test_what_is_planned_counts_until_it_is_done() -> None:
    body = told(begun("a", "b"), at("ready", "a"), at("start", "a"), at("end", "a"))

    assert (body["done"], body["total"]) == (1, 2)
    assert body["running"] == []


def test_each_item_of_a_map_counts_as_soon_as_it_is_known() -> None:
    body = told(begun("m[].a", "b"), *(at("ready", f"m[{item}].a") for item in range(3)))

    assert (body["done"], body["total"], body["waiting"]) == (0, 4, {"llm": 3})


def test_what_runs_is_named_with_its_engine_and_what_waits_is_counted() -> None:
    body = told(begun(), at("ready", "a"), at("start", "a"), at("ready", "b", engine="store"))

    (running,) = body["running"]
    assert (running["node"], running["op"], running["engine"]) == ("a", "decode", "llm")
    assert 0 <= running["seconds"] < 5
    assert body["waiting"] == {"store": 1}


def test_pieces_of_texts_that_are_being_written_are_counted() -> None:
    pieces = [at("text", "a", text="x", final=False)] * 3
    events = [begun(), at("ready", "a"), at("start", "a"), *pieces]

    assert told(*events)["text_pieces"] == 3
    assert told(*events, at("end", "a"))["text_pieces"] == 0


def test_a_failed_primitive_is_done_and_failed() -> None:
    body = told(begun("a"), at("ready", "a"), at("error", "a", error="x"))

    assert (body["done"], body["total"], body["failed"]) == (1, 1, 1)


def test_what_a_query_stopped_is_not_waited_for() -> None:
    body = told(begun("a", "b"), at("ready", "a"), Event(1.0, "done", "q"))

    assert (body["total"], body["waiting"]) == (1, {})


def test_many_running_primitives_are_cut_but_counted() -> None:
    events = [at(kind, f"a{n}") for n in range(MAX_SHOWN + 5) for kind in ("ready", "start")]
    body = told(*events)

    assert len(body["running"]) == MAX_SHOWN
    assert body["num_running"] == MAX_SHOWN + 5


def test_runs_are_listed_while_they_run(serve: Any) -> None:
    with serve(wait) as client:
        assert client.http.get("/v1/runs").json() == {"object": "list", "data": [], "next": None}
        run = client.run("wait", arguments={"name": "listed"}, background=True).json()
        (listed,) = client.http.get("/v1/runs").json()["data"]
        assert (listed["id"], listed["app"], listed["status"]) == (run["id"], "wait", "running")
        assert listed["progress"]["done"] == 0
        client.http.post(f"/v1/runs/{run['id']}/cancel")
        assert client.http.get("/v1/runs").json()["data"] == []


@tl.tool
def held(text: str) -> str:
    go_on.wait(10)
    return text


@tl.app
def hold(question: str) -> str:
    return held(say(question))


def holds(listed: Any) -> bool:
    """Of the first listed run: the tool runs, and not the answer that it waits for."""
    return [ran["op"] for ran in listed["data"][0]["progress"]["running"]] == ["call"]


def test_a_listed_run_says_how_many_of_its_primitives_are_done(serve: Any) -> None:
    go_on.clear()
    with tl.fake(llm, "words"), serve(hold) as client:
        run = client.run("hold", arguments={"question": "?"}, background=True).json()
        listed = client.until("/v1/runs", holds)
        (running,) = listed["data"][0]["progress"]["running"]
        progress = listed["data"][0]["progress"]
        go_on.set()
        client.until(f"/v1/runs/{run['id']}", lambda body: body["status"] == "completed")
        assert client.http.get("/v1/runs").json()["data"] == []

    assert (running["op"], running["engine"]) == ("call", "python")
    assert progress["done"] == progress["total"] - 1 >= 1
    assert listed["data"][0]["usage"]["completion_tokens"] > 0


def test_teola_top_reads_a_service(serve: Any) -> None:
    go_on.clear()
    with tl.fake(llm, "words"), serve(hold, key="secret") as client:
        client.http.headers["authorization"] = "Bearer secret"
        client.run("hold", arguments={"question": "?"}, background=True)
        client.until("/v1/runs", holds)
        top, stranger = Server(client.url, "secret"), Server(client.url)
        view, unknown = top.look(), stranger.look()
        go_on.set()
        top.close()
        stranger.close()

    (run,) = view.runs
    assert (view.kind, run.app, run.total - run.done, run.num_running) == ("apps", "hold", 1, 1)
    assert run.tokens > 0
    assert unknown.problem.startswith("it wants another key")
