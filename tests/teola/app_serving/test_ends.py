"""How runs end before their time: cancelled, left by their client, refused, or forgotten."""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from leaving import leave_when
from service_apps import fail, started, stopped, wait

from teola.app_serving.ended_runs import EndedRuns

Serve = Callable[..., Any]


def _is_stopped(name: str, seconds: float = 15.0) -> bool:
    end_s = time.monotonic() + seconds
    while name not in stopped and time.monotonic() < end_s:
        time.sleep(0.01)
    return name in stopped


def test_a_background_run_is_asked_for_until_it_has_ended(serve: Serve) -> None:
    with serve(wait) as client:
        answer = client.run("wait", arguments={"name": "short", "seconds": 0.1}, background=True)
        assert answer.status_code == 202
        run = answer.json()
        assert (run["status"], run["result"]) == ("running", None)
        ended = client.until(f"/v1/runs/{run['id']}", lambda body: body["status"] != "running")
    assert (ended["status"], ended["result"]) == ("completed", "short waited")


def test_a_run_is_cancelled_on_request(serve: Serve) -> None:
    with serve(wait) as client:
        run = client.run("wait", arguments={"name": "cancelled"}, background=True).json()
        while "cancelled" not in started:
            time.sleep(0.01)
        cancelled = client.http.post(f"/v1/runs/{run['id']}/cancel")
        assert "cancelled" in stopped
        assert cancelled.status_code == 200
        assert cancelled.json()["status"] == "cancelled"
        assert cancelled.json()["error"]["code"] == "run_cancelled"
        assert client.http.get(f"/v1/runs/{run['id']}").json()["status"] == "cancelled"
        assert client.metric('teola_app_runs_total{app="wait",status="cancelled"}') == 1


def test_who_waits_for_a_cancelled_run_is_told(serve: Serve) -> None:
    answers: list[httpx.Response] = []
    with serve(wait) as client:
        body = {"arguments": {"name": "waited for"}}
        url = f"{client.url}/v1/apps/wait/runs"
        waiting = threading.Thread(
            target=lambda: answers.append(httpx.post(url, json=body, timeout=30))
        )
        waiting.start()
        while not client.service._running:
            time.sleep(0.01)
        (run_id,) = client.service._running
        client.http.post(f"/v1/runs/{run_id}/cancel")
        waiting.join()
    assert answers[0].status_code == 410
    assert answers[0].headers["x-should-retry"] == "false"
    assert answers[0].json()["id"] == run_id


def test_an_ended_run_cannot_be_cancelled(serve: Serve) -> None:
    with serve(fail) as client:
        run = client.run("fail", arguments={"question": "?"}).json()
        assert client.http.post(f"/v1/runs/{run['id']}/cancel").json() == run


@pytest.mark.parametrize("streams", [False, True])
def test_a_client_that_leaves_cancels_its_run(serve: Serve, streams: bool) -> None:
    name = f"left {streams}"
    with serve(wait) as client:
        body = {"arguments": {"name": name}, "stream": streams}
        leave_when(client.url, "/v1/apps/wait/runs", body, lambda: name in started)
        assert _is_stopped(name)
        client.comes_to('teola_app_runs_total{app="wait",status="cancelled"}', 1)
        client.comes_to("teola_requests_aborted_total", 1)


def test_a_background_run_goes_on_without_its_client(serve: Serve) -> None:
    with serve(wait) as client:
        body = {"arguments": {"name": "alone", "seconds": 0.3}, "background": True}
        with httpx.Client() as other:
            run = other.post(f"{client.url}/v1/apps/wait/runs", json=body).json()
        ended = client.until(f"/v1/runs/{run['id']}", lambda body: body["status"] != "running")
    assert ended["status"] == "completed"


def test_more_runs_than_the_limit_are_refused(serve: Serve) -> None:
    with serve(wait, max_runs=1) as client:
        first = client.run("wait", arguments={"name": "first"}, background=True).json()
        refused = client.run("wait", arguments={"name": "second"})
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        client.http.post(f"/v1/runs/{first['id']}/cancel")
        third = client.run("wait", arguments={"name": "third", "seconds": 0.01})
        assert third.json()["status"] == "completed"


def test_a_server_that_closes_answers_what_runs(serve: Serve) -> None:
    with serve(wait) as client:
        runs: list[Any] = []

        async def close() -> None:
            await client.service.close()

        def later() -> None:
            while not client.service._running:
                time.sleep(0.01)
            (run,) = runs[:] = client.service._running.values()
            asyncio.run_coroutine_threadsafe(close(), run._loop).result()

        end = threading.Thread(target=later)
        end.start()
        events = client.events("wait", name="at the close")
        end.join()
        assert events[-1]["error"]["code"] == "run_interrupted"
        assert runs[0].stopped.is_set()
        assert client.http.get("/health").status_code == 503
        assert client.run("wait", arguments={"name": "late"}).status_code == 503


def _kept(ended: EndedRuns, names: str) -> list[int | None]:
    """The size of each result."""
    found = (ended.get(name) for name in names)
    return [None if body is None else len(json.loads(body)["result"] or "") for body in found]


def _ended(name: str, num_chars: int) -> dict[str, Any]:
    return {"id": name, "status": "completed", "result": "x" * num_chars, "error": None}


def test_ended_runs_are_bounded_in_number_and_bytes() -> None:
    ended = EndedRuns(max_runs=2, max_bytes=2000)
    for name in "abc":
        ended.put(_ended(name, 4))
    assert _kept(ended, "abc") == [None, 4, 4]
    ended.put(_ended("d", 1900))
    assert _kept(ended, "bcd") == [None, None, 1900]


def test_a_run_too_large_to_be_kept_says_so_and_lets_the_others_be() -> None:
    ended = EndedRuns(max_bytes=2000)
    ended.put(_ended("small", 4))
    ended.put(_ended("huge", 3000))
    assert json.loads(ended.get("small") or "") == _ended("small", 4)
    huge = json.loads(ended.get("huge") or "")
    assert (huge["status"], huge["result"]) == ("completed", None)
    assert huge["error"]["code"] == "result_not_kept"
    assert "keeps 2000 for all" in huge["error"]["message"]
