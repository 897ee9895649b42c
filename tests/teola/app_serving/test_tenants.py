"""Whose run goes first, where a header says whose a run is."""

from collections.abc import Callable
from typing import Any

import teola as tl
from runtime.events import Event

Serve = Callable[..., Any]
llm = tl.LLM("emulated:h100/llama-3.1-8b", output_tokens=60_000, max_running=1)


@tl.prompt(llm, max_tokens=60_000)
def hold(question: str) -> str:
    return question


@tl.prompt(llm, max_tokens=5)
def say(question: str) -> str:
    return question


@tl.app
def holds(question: str) -> str:
    return hold(question)


@tl.app
def answer(question: str) -> str:
    return say(question)


def ended(serve: Serve, *tenants: str, **options: Any) -> list[str]:
    """The tenants of runs in the order in which they end; they come one after another, behind a
    run that holds the engine's one slot until all have come."""
    events: list[Event] = []

    def begin(app: str, tenant: str) -> str:
        body = {"arguments": {"question": tenant}, "background": True}
        head = {"X-Tenant": tenant}
        found = client.http.post(f"/v1/apps/{app}/runs", json=body, headers=head)
        return str(found.json()["id"])

    def works(kind: str, run_id: str) -> None:
        client.until(f"/v1/runs?app={kind}", lambda listed: run_id in _at_engine(listed["data"]))

    app = answer.using(policy="vtc", memo=False, listener=events.append)
    with serve(holds.using(policy="vtc"), app, max_runs=16, **options) as client:
        first = begin("holds", "nobody")
        works("holds", first)
        for tenant in tenants:
            works("answer", begin("answer", tenant))
        client.http.post(f"/v1/runs/{first}/cancel")
        client.until("/v1/runs", lambda listed: listed["data"] == [])
    begun = [event.query for event in events if event.kind == "query"]
    of = dict(zip(begun, tenants, strict=True))
    return [of[event.query] for event in events if event.kind == "done"]


def _at_engine(runs: list[Any]) -> list[str]:
    """Those whose prompt is with the engine."""
    told = {run["id"]: run["progress"] for run in runs}
    return [run_id for run_id, at in told.items() if at["waiting"] or at["running"]]


def test_tenants_of_a_header_take_turns_under_a_fair_policy(serve: Serve) -> None:
    asked = ("greedy",) * 5 + ("modest",) * 2
    assert ended(serve, *asked).index("modest") == 5
    assert ended(serve, *asked, tenant_header="X-Tenant")[:5].count("modest") == 2


def test_what_is_no_name_of_a_tenant_is_refused(serve: Serve) -> None:
    with tl.fake(llm, "yes"), serve(answer.using(policy="vtc"), tenant_header="X-Tenant") as client:
        body = {"arguments": {"question": "?"}}
        for head, status in (({"X-Tenant": "a b"}, 400), ({"X-Tenant": "ab"}, 200), ({}, 200)):
            found = client.http.post("/v1/apps/answer/runs", json=body, headers=head)
            assert found.status_code == status
