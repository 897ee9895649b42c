"""`GET /v1/runs`: pages of runs, by state and app."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import teola as tl
from teola.app_serving.kept_runs import Keeping
from teola.app_serving.retention import Retention
from teola.runner import AppRunner, chosen_runner

Serve = Callable[..., Any]


@tl.app
async def echo(name: str) -> str:
    if name == "bad":
        raise ValueError(name)
    return name


@tl.app
async def ask(question: str) -> bool:
    return await tl.approve(question)


@tl.app
async def rest() -> str:
    return await tl.value(sleep())


@tl.tool(reads=True)
async def sleep() -> str:
    """Until it is cancelled."""
    await asyncio.sleep(60)
    return "rested"


@pytest.fixture(params=["kept", "in memory"])
def open_service(request: Any, serve: Serve, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    keeping = Keeping(tmp_path / "runs", Retention()) if request.param == "kept" else None

    @contextmanager
    def opened(*apps: Any) -> Iterator[Any]:
        with serve(*apps, keeping=keeping) as client:
            yield client

    runner = AppRunner()
    with chosen_runner(runner):
        yield opened
        runner.close()


def listed(client: Any, **query: Any) -> list[str]:
    """The ids of all pages."""
    found: list[str] = []
    while True:
        body = client.http.get("/v1/runs", params=query).json()
        found += [run["id"] for run in body["data"]]
        if body["next"] is None:
            return found
        query["after"] = body["next"]


def test_runs_are_listed_page_by_page_and_by_state(open_service: Callable[..., Any]) -> None:
    with open_service(echo, rest) as client:
        ids = [client.run("echo", arguments={"name": n}).json()["id"] for n in "abcde"]
        bad = client.run("echo", arguments={"name": "bad"}).json()["id"]
        rests = [client.run("rest", background=True).json()["id"] for _ in range(3)]
        client.http.post(f"/v1/runs/{rests[1]}/cancel")
        client.until("/v1/runs?state=cancelled", lambda body: len(body["data"]) == 1)
        for limit in (1, 2, 3, 100):
            assert listed(client, limit=limit, state="completed") == ids[::-1]
            assert listed(client, limit=limit) == [rests[2], rests[0]]
            assert listed(client, limit=limit, state="all") == [*rests[::-1], bad, *ids[::-1]]
        assert listed(client, state="running", limit=1) == [rests[2], rests[0]]
        assert listed(client, state="failed") == [bad]
        assert listed(client, state="all", app="rest", limit=2) == rests[::-1]
        assert listed(client, state="all", app="none") == []
        (failed,) = client.http.get("/v1/runs?state=failed").json()["data"]
        whole = client.http.get(f"/v1/runs/{bad}").json()
        assert {name: failed[name] for name in ("status", "created", "seconds")} == {
            name: whole[name] for name in ("status", "created", "seconds")
        }
        for each in rests:
            client.http.post(f"/v1/runs/{each}/cancel")


def test_wrong_parameters_are_named(open_service: Callable[..., Any]) -> None:
    with open_service(echo) as client:
        wrong = {
            "limit": ("0", "1001", "-1", "1.5", "many", ""),
            "after": ("run_1", "", "nan:run_1", "1e9:run_1"),
            "state": ("done", ""),
            "app": ("",),
            "status": ("failed",),
        }
        for name, values in wrong.items():
            for value in values:
                found = client.http.get("/v1/runs", params={name: value})
                assert (found.status_code, found.json()["error"]["param"]) == (400, name), value
        twice = client.http.get("/v1/runs?limit=1&limit=2")
        assert (twice.status_code, twice.json()["error"]["param"]) == (400, "limit")


def test_what_waits_is_listed_by_the_next_server_too(serve: Serve, tmp_path: Path) -> None:
    keeping = Keeping(tmp_path / "runs", Retention())
    runner = AppRunner()
    with chosen_runner(runner):
        with serve(ask, echo, keeping=keeping) as client:
            ids = [client.run("ask", arguments={"question": q}).json()["id"] for q in "abc"]
            done = client.run("echo", arguments={"name": "a"}).json()["id"]
        with serve(echo, keeping=keeping) as client:
            assert listed(client, state="waiting", app="ask", limit=2) == ids[::-1]
            (one,) = client.http.get("/v1/runs?state=completed").json()["data"]
            assert (one["id"], one["status"], one["waits_for"]) == (done, "completed", [])
            waits = client.http.get("/v1/runs?limit=1").json()["data"][0]
            assert waits["waits_for"][0]["question"] == "c"
        runner.close()
