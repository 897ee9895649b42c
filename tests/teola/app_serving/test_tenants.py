"""Whose run goes first, where a header says whose a run is."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx

import teola as tl
from teola.app_serving.service import AppService

Serve = Callable[..., Any]
llm = tl.LLM("emulated:h100/llama-3.1-8b", output_tokens=20, max_running=1)


@tl.prompt(llm, max_tokens=20)
def say(question: str) -> str:
    return question


@tl.app
def answer(question: str) -> str:
    return say(question)


def ended(serve: Serve, *tenants: str, **options: Any) -> list[str]:
    """The tenants of runs in the order in which they end; they come one after another, behind a
    run that holds the engine's one slot."""
    order: list[str] = []

    async def main(url: str) -> None:
        async def run(tenant: str, number: int) -> None:
            body = {"arguments": {"question": f"{number}"}}
            head = {"X-Tenant": tenant}
            found = await http.post("/v1/apps/answer/runs", json=body, headers=head)
            assert found.json()["status"] == "completed", found.text
            order.append(tenant)

        async with httpx.AsyncClient(base_url=url, timeout=30) as http:
            tasks = []
            for number, tenant in enumerate(("nobody", *tenants)):
                tasks.append(asyncio.create_task(run(tenant, number)))
                await until_started(http, number + 1)
            await asyncio.gather(*tasks)

    async def until_started(http: httpx.AsyncClient, count: int) -> None:
        while len(order) + len((await http.get("/v1/runs")).json()["data"]) < count:
            await asyncio.sleep(0.01)

    app = answer.using(policy="vtc", memo=False)
    with serve(app, max_runs=16, **options) as client:
        assert isinstance(client.service, AppService)
        asyncio.run(main(client.url))
    return order[1:]


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
