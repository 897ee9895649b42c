"""By what a run is ordered that goes on: by the deadline and the objective that it began with."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf
from pathlib import Path
from time import monotonic, time
from typing import Any

import pytest

import teola as tl
from backends.place import Place
from backends.policy.base import Ticket
from backends.policy.least_slack import least_slack
from runtime.run_store.rows import RunRow
from runtime.run_store.store import RunStore
from runtime.run_store.values import encode
from teola.app_serving.kept_runs import Keeping
from teola.app_serving.retention import Retention
from teola.runner import AppRunner, chosen_runner

Serve = Callable[..., Any]
HOUR_S, DAY_S = 3600.0, 86400.0
llm = tl.LLM("fake:")
seen: list[Place] = []  # as the policy is told of the requests


def rank(ticket: Ticket) -> Any:
    seen.append(ticket.place)
    return least_slack.rank(ticket)


@tl.prompt(llm, max_tokens=5)
def say(text: str) -> str:
    return text


@tl.app
async def publish(topic: str) -> str:
    if not await tl.approve("Publish?"):
        return "kept"
    return await tl.value(say(topic))


app = publish.using(policy=replace(least_slack, rank=rank))


@pytest.fixture(autouse=True)
def _runner() -> Iterator[None]:
    seen.clear()
    runner = AppRunner()
    with chosen_runner(runner):
        yield
        runner.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def waiting(folder: Path, **options: Any) -> str:
    with pytest.raises(tl.errors.ApprovalPending):
        app.using(runs=str(folder), **options)("tea")
    seen.clear()
    return tl.runs(folder)[0].id


def told() -> tuple[str, float | None]:
    """The objective of the requests, and the seconds to their deadline."""
    (found,) = {(place.objective, place.deadline_s) for place in seen}
    objective, deadline_s = found
    return objective, None if deadline_s is None else deadline_s - monotonic()


def test_a_resumed_run_keeps_its_objective_and_deadline(folder: Path) -> None:
    run_id = waiting(folder, objective="throughput", deadline_s=HOUR_S)
    tl.resume(run_id, runs=folder, app=app.using(deadline_s=5.0), approve=True)
    objective, left_s = told()
    assert objective == "throughput"
    assert left_s is not None
    assert HOUR_S / 2 < left_s < 2 * HOUR_S


def test_a_deadline_goes_on_while_a_run_waits(folder: Path) -> None:
    store = RunStore(folder)
    row = RunRow("r1", "publish", "", encode([["tea"], {}]), "{}", "", time() - DAY_S)
    store.begin(replace(row, objective="latency", due_s=time() - DAY_S + HOUR_S)).result()
    store.end("r1", "interrupted", time()).result()
    store.close()
    tl.resume("r1", runs=folder, app=app.using(approve=lambda *_: True))
    _, left_s = told()
    assert left_s is not None
    assert -DAY_S < left_s < -DAY_S / 2


def test_a_run_without_either_is_ordered_as_its_app_says(folder: Path) -> None:
    store = RunStore(folder)
    row = RunRow("r1", "publish", "", encode([["tea"], {}]), "{}", "", time())
    store.begin(row).result()
    store.end("r1", "interrupted", time()).result()
    store.close()
    own = app.using(approve=lambda *_: True, objective="throughput", deadline_s=HOUR_S)
    tl.resume("r1", runs=folder, app=own)
    objective, left_s = told()
    assert (objective, left_s is not None) == ("throughput", True)


def test_a_deadline_beyond_all_calendars_is_kept(folder: Path) -> None:
    run_id = waiting(folder, deadline_s=inf)
    tl.resume(run_id, runs=folder, app=app, approve=True)
    assert told()[1] is not None


def test_a_server_goes_on_after_an_approval_as_it_was_asked(serve: Serve, folder: Path) -> None:
    asked = app.using(objective="throughput", deadline_s=HOUR_S)
    keeping = Keeping(folder, Retention())
    with serve(asked, keeping=keeping) as client:
        answer = client.http.post("/v1/apps/publish/runs", json={"arguments": {"topic": "tea"}})
        body = client.until(
            f"/v1/runs/{answer.json()['id']}", lambda run: run["status"] == "waiting"
        )
        assert body["objective"] == "throughput"
        assert 0 <= body["due"] - body["created"] - HOUR_S <= 1
    seen.clear()
    with serve(app, keeping=keeping) as another:
        path = f"/v1/runs/{body['id']}"
        found = another.http.get(path).json()
        assert (found["objective"], found["due"]) == ("throughput", body["due"])
        another.http.post(f"{path}/approve", json={"approved": True})
        done = another.until(path, lambda run: run["status"] == "completed")
    assert (done["objective"], done["due"]) == ("throughput", body["due"])
    objective, left_s = told()
    assert objective == "throughput"
    assert left_s is not None
    assert HOUR_S / 2 < left_s < 2 * HOUR_S


def test_a_run_shows_by_what_it_is_ordered(serve: Serve) -> None:
    with serve(app.using(deadline_s=HOUR_S, approve=lambda *_: True)) as client:
        path = "/v1/apps/publish/runs"
        body = client.http.post(path, json={"arguments": {"topic": "tea"}}).json()
    assert body["objective"] == "latency"
    assert 0 <= body["due"] - body["created"] - HOUR_S <= 1
