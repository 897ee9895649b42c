"""Whom a run counts for that goes on: the one for whom it began."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import teola as tl
from backends.errors import ConfigError
from backends.policy.base import Ticket
from backends.policy.vtc import vtc
from runtime.run_store.rows import RunRow
from runtime.run_store.store import RunStore
from runtime.run_store.values import encode
from teola.app_serving.kept_runs import Keeping
from teola.app_serving.retention import Retention
from teola.runner import AppRunner, chosen_runner

Serve = Callable[..., Any]
llm = tl.LLM("fake:")
seen: list[str] = []  # tenants of the requests to engines, as the policy is told


def flow(ticket: Ticket) -> str:
    seen.append(str(ticket.place.tenant))
    return str(ticket.place.tenant)


@tl.prompt(llm, max_tokens=5)
def say(text: str) -> str:
    return text


@tl.app
async def publish(topic: str) -> str:
    if not await tl.approve("Publish?"):
        return "kept"
    return await tl.value(say(topic))


POLICY = replace(vtc, flow=flow)
fair = publish.using(policy=POLICY, tenant="of the app")


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


def begun(client: Any, **headers: str) -> str:
    """A run that waits; its first requests are forgotten."""
    body = {"arguments": {"topic": "tea"}}
    answer = client.http.post("/v1/apps/publish/runs", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    seen.clear()
    return str(answer.json()["id"])


def approve(client: Any, run_id: str) -> None:
    path = f"/v1/runs/{run_id}"
    head = {"X-Tenant": "the one who approves"}
    done = client.http.post(f"{path}/approve", json={"approved": True}, headers=head)
    assert done.status_code == 202, done.text
    client.until(path, lambda run: run["status"] == "completed")


def test_after_an_approval_a_run_counts_for_its_tenant(serve: Serve, folder: Path) -> None:
    keeping = Keeping(folder, Retention())
    with serve(fair, keeping=keeping, tenant_header="X-Tenant") as client:
        approve(client, begun(client, **{"X-Tenant": "ann"}))
        assert set(seen) == {"ann"}
        later = begun(client, **{"X-Tenant": "bob"})
        approve(client, begun(client))
        assert set(seen) == {"of the app"}
        seen.clear()
    with serve(fair, keeping=keeping) as another:
        approve(another, later)
        assert set(seen) == {"bob"}


def test_a_server_that_takes_runs_up_keeps_their_tenants(serve: Serve, folder: Path) -> None:
    store = RunStore(folder)
    given = encode([[], {"topic": "tea"}])
    for run_id, tenant in (("run_a", "ann"), ("run_old", "")):
        row = RunRow(run_id, "publish", "", given, "{}", "", 1.0, tenant=tenant)
        store.begin(row, is_served=True).result()
        store.end(run_id, "interrupted", 2.0).result()
    store.close()
    keeping = Keeping(folder, Retention(), resumes=True)
    with serve(fair.using(approve=lambda *_: True), keeping=keeping) as client:
        for run_id in ("run_a", "run_old"):
            client.until(f"/v1/runs/{run_id}", lambda run: run["status"] == "completed")
    assert set(seen) == {"ann", "of the app"}


def test_resume_in_another_process_keeps_the_tenant(folder: Path) -> None:
    with pytest.raises(tl.errors.ApprovalPending):
        publish.using(policy=POLICY, tenant="ann", runs=str(folder))("tea")
    (run,) = tl.runs(folder)
    assert run.run.tenant == "ann"
    seen.clear()
    with pytest.raises(ConfigError, match="give the answer too"):
        tl.resume(run.id, runs=folder, app=fair, by="bob")
    asyncio.run(tl.aresume(run.id, runs=folder, app=fair, approve=True, by="bob"))
    assert set(seen) == {"ann"}
    assert [given.by for given in RunStore(folder).answers(run.id)] == ["bob"]
