"""What the plan knows of a request reaches an engine behind HTTP, and what the engine says of its
wait comes back."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from held_steps import HeldSteps

from backends.base import Request, Result
from backends.place import Left, Place
from teola.cli.serve_engine_command import make_engines
from teola.serving.app import make_app
from teola.serving.client_rules import ClientRules, PriorityRule
from teola.serving.place_fields import MOST_QUERIES, Client, KnownQueries, PlaceFields
from teola.serving.served_engines import ServedEngines

COMPLETE = "/v1/completions"
Asked = tuple[str, str, dict[str, Any]]  # the client's address, the request's name, its fields


def finished(
    asked: list[Asked],
    rule: str = "lower",
    tenant_header: str | None = None,
    takes_policy: bool = False,
    **options: Any,
) -> list[str]:
    """The names of requests in the order in which they are answered. They come while another one
    holds the engine's one slot."""

    async def main() -> list[str]:
        settings = {"tokenizer": "bytes", "output_tokens": 100, "max_running": 1, **options}
        engines = make_engines({"llm": "emulated:h100/llama-3.1-8b"}, {"llm": settings})
        rules = ClientRules(
            priority=PriorityRule(rule), tenant_header=tenant_header, takes_policy=takes_policy
        )
        served = ServedEngines(engines, max_queued=16, rules=rules)
        await served.start()
        app, order = make_app(served, None), []

        async def ask(address: str, name: str, fields: dict[str, Any]) -> None:
            transport = httpx.ASGITransport(app, client=(address, 1))
            body = {"prompt": name, "max_tokens": 20, **fields}
            headers = body.pop("headers", {})
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                answer = await client.post(COMPLETE, json=body, headers=headers)
            assert answer.status_code == 200, answer.text
            order.append(name)

        steps = HeldSteps(served.served[0].engine)
        asking = [asyncio.create_task(ask("0.0.0.0", "busy", {}))]
        await steps.begun()
        for number, each in enumerate(asked, start=1):
            asking.append(asyncio.create_task(ask(*each)))
            await steps.submitted(number)
        steps.go_on()
        await asyncio.gather(*asking)
        await served.close()
        return [name for name in order if name != "busy"]

    return asyncio.run(main())


def of(query: str, left_s: float, **more: Any) -> dict[str, Any]:
    return {"place": {"query": query, "left_s": left_s, **more}}


def test_a_client_orders_its_own_queries_and_passes_no_other_client() -> None:
    asked: list[Asked] = [
        ("10.0.0.1", "long", of("a", 40.0)),
        ("10.0.0.2", "other", of("a", 40.0)),
        ("10.0.0.1", "short", of("b", 1.0)),
    ]
    assert finished(asked) == ["short", "other", "long"]
    assert finished(asked, "allow") == ["short", "long", "other"]
    assert finished(asked, "ignore") == ["long", "other", "short"]


def test_a_later_request_corrects_what_is_left_of_a_query_that_waits() -> None:
    asked: list[Asked] = [
        ("10.0.0.1", "first", of("a", 1.0, query_left_s=50.0)),
        ("10.0.0.1", "second", of("b", 1.0, query_left_s=20.0)),
    ]
    assert finished(asked) == ["second", "first"]
    asked.append(("10.0.0.1", "third", of("a", 1.0, query_left_s=2.0)))
    assert finished(asked) == ["first", "third", "second"]


def test_tenants_of_a_header_get_equal_service_under_a_fair_policy() -> None:
    greedy = [("10.0.0.1", f"g{n}", {"headers": {"X-Tenant": "greedy"}}) for n in range(4)]
    modest = [("10.0.0.1", f"m{n}", {"headers": {"X-Tenant": "modest"}}) for n in range(2)]
    assert finished([*greedy, *modest], policy="vtc")[:4] == ["g0", "g1", "g2", "g3"]
    found = finished([*greedy, *modest], tenant_header="X-Tenant", policy="vtc")
    assert sorted(found[:4]) == ["g0", "g1", "m0", "m1"]


def test_a_server_with_one_client_orders_by_the_policy_that_it_names() -> None:
    def asked(policy: str) -> list[Asked]:
        names = {"long": 40.0, "short": 1.0}
        return [("10.0.0.1", name, of(name, s, policy=policy)) for name, s in names.items()]

    for policy, order in (("fcfs", ["long", "short"]), ("application_aware", ["short", "long"])):
        assert finished(asked(policy), "allow", takes_policy=True) == order
    assert finished(asked("fcfs"), "allow") == ["short", "long"]  # others are not asked
    own = finished(asked("application_aware"), "allow", takes_policy=True, policy="fcfs")
    assert own == ["long", "short"]


@pytest.mark.parametrize(
    ("place", "param"),
    [
        ({}, "place.query"),
        ({"query": ""}, "place.query"),
        ({"query": "q" * 257}, "place.query"),
        ({"query": "q", "left_s": -1}, "place.left_s"),
        ({"query": "q", "work_s": 1e10}, "place.work_s"),
        ({"query": "q", "depth": 1.5}, "place.depth"),
        ({"query": "q", "policy": "mine"}, "place.policy"),
        ({"query": "q", "client": "me"}, "place.client"),
        ("first", "place"),
    ],
)
def test_what_is_no_place_is_refused_by_name(talk: Any, place: object, param: str) -> None:
    answer = talk().post(COMPLETE, {"prompt": "hello", "place": place})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_server_that_takes_no_priorities_takes_no_places(talk: Any) -> None:
    body = {"prompt": "hello", **of("q", 1.0)}
    answer = talk(rules=ClientRules(priority=PriorityRule.REFUSE)).post(COMPLETE, body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "place")
    passed = talk(rules=ClientRules(priority=PriorityRule.IGNORE)).post(COMPLETE, body)
    assert passed.status_code == 200
    assert "place: without effect" in passed.headers["x-teola-warning"]


def test_what_is_known_of_queries_is_bounded() -> None:
    queries, client = KnownQueries(), Client("address a")
    for number in range(MOST_QUERIES + 10):
        queries.place(PlaceFields(query=f"q{number}", query_left_s=1.0), client, 0.0)
    assert len(queries._left) == MOST_QUERIES


def test_a_guess_that_is_wanted_before_it_comes_is_none() -> None:
    queries, client = KnownQueries(), Client("address a")
    queries.wanted(client, [f"g{number}" for number in range(MOST_QUERIES + 10)])
    said = [PlaceFields(query="q", guess=name) for name in (f"g{MOST_QUERIES}", "other")]
    places = [queries.place(each, client, 0.0) for each in said]
    assert [place is not None and place.is_guess for place in places] == [False, True]
    assert len(queries._wanted) == MOST_QUERIES


@pytest.mark.parametrize("rule", ["allow", "lower", "ignore", "refuse"])
def test_teolas_own_engine_tells_a_server_where_its_requests_stand(
    with_pair: Callable[..., None], rule: str
) -> None:
    async def work(pair: Any) -> None:
        execute, seen = pair.local.execute, []

        async def noted(requests: list[Request]) -> Any:
            seen.extend(request.place for request in requests)
            return await execute(requests)

        pair.local.execute = noted
        now_s = asyncio.get_running_loop().time()
        left = Left(3.0, now_s - 2.0)
        place = Place(
            "q1", 2.0, 1, "g", node="app.read", work_s=4.0, tenant="t", deadline_s=now_s + 9.0
        )
        for at in (replace(place, left=left), place):
            request = Request(uuid4().hex, "generate", ("ab",), {"max_tokens": 2}, place=at)
            (outcome,) = await pair.remote.execute([request])
            assert isinstance(outcome, Result), outcome
        if rule in ("ignore", "refuse"):
            assert seen == [None, None]
            return
        found, without = seen
        assert (found.left_s, found.depth, found.group, found.node) == (2.0, 1, "g", "app.read")
        assert found.query.endswith(".q1")
        assert found.left.work_s == 3.0
        assert found.left.since_s == pytest.approx(left.since_s, abs=1.0)
        assert found.deadline_s == pytest.approx(now_s + 9.0, abs=1.0)
        assert found.tenant.endswith("t")
        assert bool(found.client) == (rule == "lower")
        assert without.left is None

    with_pair(work, rules=ClientRules(priority=PriorityRule(rule)))


def test_a_query_with_less_left_overtakes_inside_a_served_engine_and_is_told_of(
    with_pair: Callable[..., None],
) -> None:
    async def work(pair: Any) -> None:
        execute, come = pair.local.execute, asyncio.Condition()
        num_come = 0

        async def noted(requests: list[Request]) -> Any:
            nonlocal num_come
            async with come:
                num_come += 1
                come.notify_all()
            return await execute(requests)

        async def ask(query: str, left_s: float, num_tokens: int) -> Any:
            attrs = {"max_tokens": num_tokens, "ignore_eos": True}
            at = Place(query, left_s)
            request = Request(uuid4().hex, "generate", (query,), attrs, place=at, is_heard=True)
            (outcome,) = await pair.remote.execute([request])
            return outcome

        pair.local.execute = noted
        tasks = []
        for number, (query, left_s, num_tokens) in enumerate(
            [("busy", 0.0, 120), ("long", 40.0, 20), ("short", 1.0, 20)], start=1
        ):
            tasks.append(asyncio.create_task(ask(query, left_s, num_tokens)))
            async with come:
                await come.wait_for(lambda wanted=number: num_come == wanted)
        busy, long, short = [result.served for result in await asyncio.gather(*tasks)]
        assert busy.last_step < short.first_step < short.last_step < long.first_step
        assert dict(long.behind).keys() == {"busy", "short"}
        assert dict(short.behind).keys() == {"busy"}
        assert long.queued_s > short.queued_s > 0

    with_pair(work, rules=ClientRules(), max_running=1)


def test_other_clients_queries_are_not_named(talk_tiny: Callable[..., Any]) -> None:
    server = talk_tiny(rules=ClientRules(), max_running=1)

    async def main() -> list[dict[str, Any]]:
        async def ask(address: str, query: str, num_tokens: int) -> dict[str, Any]:
            transport = httpx.ASGITransport(server.app, client=(address, 1))
            body = {"prompt": "ab", "max_tokens": num_tokens, "ignore_eos": True}
            async with httpx.AsyncClient(transport=transport, base_url="http://s") as client:
                fields = {**body, **of(query, 1.0), "return_served": True}
                answer = await client.post(COMPLETE, json=fields)
            served: dict[str, Any] = answer.json()["usage"]["served"]
            return served

        asked = [("a", "secret", 30), ("a", "own", 10), ("b", "own", 10)]
        return await asyncio.gather(*(ask(*each) for each in asked))

    served = server.run(main())
    assert "secret" not in str(served[-1])
    assert any("other clients" in dict(each.get("behind", ())) for each in served)


@pytest.mark.parametrize("fields", [{}, {"n": 2}, {"stream": True}])
def test_a_server_tells_how_it_served_only_where_it_is_asked(
    talk_tiny: Callable[..., Any], fields: dict[str, Any]
) -> None:
    body = {"prompt": "ab", "max_tokens": 4, "ignore_eos": True, **fields}
    if "stream" in fields:
        body["stream_options"] = {"include_usage": True}
    server = talk_tiny()
    assert '"served"' not in server.ask(COMPLETE, body).text
    told = server.ask(COMPLETE, {**body, "return_served": True}).text
    usage = json.loads(told.split("data: ")[-2] if "stream" in fields else told)["usage"]
    assert usage["served"]["num_steps"] >= 4


def test_a_guess_at_a_server_is_told_until_somebody_waits_for_it(
    with_pair: Callable[..., None],
) -> None:
    async def work(pair: Any) -> None:
        execute, seen, goes_on = pair.local.execute, [], asyncio.Event()

        async def noted(requests: list[Request]) -> Any:
            seen.extend(request.place for request in requests)
            await goes_on.wait()
            return await execute(requests)

        pair.local.execute = noted
        assert "guesses" in pair.remote.info.capabilities
        left = Left(1.0, is_guess=True)
        guess = Request(
            uuid4().hex, "generate", ("a",), {"max_tokens": 1}, place=Place("q", 1.0, left=left)
        )
        running = asyncio.create_task(pair.remote.execute([guess]))
        while not seen:
            await asyncio.sleep(0.001)
        assert seen[0].is_guess
        left.is_guess = False
        while seen[0].is_guess:  # the word is on its way
            await asyncio.sleep(0.001)
        goes_on.set()
        (outcome,) = await running
        assert isinstance(outcome, Result)
        real = replace(guess, id=uuid4().hex)
        await pair.remote.execute([real])
        assert not seen[1].is_guess

    with_pair(work)
