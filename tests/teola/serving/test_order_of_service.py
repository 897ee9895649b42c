"""The fields `priority` and `itl_ms` decide who is served first, behind the server."""

import asyncio
from typing import Any

import httpx
import pytest
from held_steps import HeldSteps

from teola.cli.serve_engine_command import make_engines
from teola.serving.app import make_app
from teola.serving.client_rules import ALL_ALLOWED
from teola.serving.served_engines import ServedEngines

COMPLETE = "/v1/completions"


def finished(bodies: dict[str, dict[str, Any]], **options: Any) -> list[str]:
    """The names of requests that wait for the engine's one slot, in the order in which they are
    answered; another holds the slot while they come."""

    async def main() -> list[str]:
        settings = {"tokenizer": "bytes", "output_tokens": 100, "max_running": 1, **options}
        engines = make_engines({"llm": "emulated:h100/llama-3.1-8b"}, {"llm": settings})
        served = ServedEngines(engines, max_queued=8, rules=ALL_ALLOWED)
        await served.start()
        order: list[str] = []

        async def ask(name: str, body: dict[str, Any]) -> None:
            answer = await client.post(COMPLETE, json={"prompt": name, "max_tokens": 20, **body})
            assert answer.status_code == 200, answer.text
            order.append(name)

        transport = httpx.ASGITransport(make_app(served, None))
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            steps = HeldSteps(served.served[0].engine)
            asking = [asyncio.create_task(ask("busy", {"priority": 100}))]
            await steps.begun()
            for number, (name, body) in enumerate(bodies.items(), start=1):
                asking.append(asyncio.create_task(ask(name, body)))
                await steps.submitted(number)
            steps.go_on()
            await asyncio.gather(*asking)
        await served.close()
        return [name for name in order if name != "busy"]

    return asyncio.run(main())


@pytest.mark.parametrize("policy", ["fcfs", "sarathi", "lpm", "mlfq", "slo"])
def test_a_larger_priority_is_served_first(policy: str) -> None:
    bodies = {"low": {"priority": -1}, "middle": {}, "high": {"priority": 5}}
    assert finished(bodies, policy=policy) == ["high", "middle", "low"]


def test_with_equal_priority_the_first_is_served_first() -> None:
    assert finished({"a": {}, "b": {}, "c": {}}) == ["a", "b", "c"]


def test_tight_targets_are_served_first_where_the_policy_goes_by_them() -> None:
    bodies = {"first": {}, "calm": {"itl_ms": 5000}, "quick": {"itl_ms": 50}}
    assert finished(bodies, policy="slo") == ["quick", "calm", "first"]
    assert finished(bodies) == ["first", "calm", "quick"]


def test_an_engine_that_sizes_no_steps_refuses_a_wanted_time(talk: Any) -> None:
    answer = talk().post(COMPLETE, {"prompt": "hello", "itl_ms": 50})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "itl_ms"


@pytest.mark.parametrize("wrong", [0, -1, 1e9, "soon"])
def test_a_wanted_time_is_a_positive_number(talk: Any, wrong: object) -> None:
    answer = talk().post(COMPLETE, {"prompt": "hello", "itl_ms": wrong})
    assert answer.json()["error"]["param"] == "itl_ms"
