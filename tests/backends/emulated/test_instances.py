"""Several instances behind one name: who gets which request, and whose KV it finds."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from backends.base import Request, Result
from backends.emulated.factory import create, instances_in
from backends.emulated.instances import Instances
from backends.errors import ConfigError, EngineError
from runtime.clock import now, run_virtual
from runtime.dispatch import new_request_id

T = TypeVar("T")
BEHIND = "llama-3.1-8b?tokenizer=bytes&output_tokens=20"


def on_engine(url: str, work: Callable[[Instances], Awaitable[T]], **options: Any) -> T:
    """What `work` gives, in virtual time."""

    async def main() -> T:
        engine: Any = create("llm", url, options)
        await engine.start()
        try:
            return await work(engine)
        finally:
            await engine.close()

    return run_virtual(main())


def request(op: str, *inputs: Any, **attrs: Any) -> Request:
    return Request(new_request_id(), op, inputs, attrs)


async def one(engine: Instances, asked: Request) -> Result:
    (outcome,) = await engine.execute([asked])
    assert isinstance(outcome, Result)
    return outcome


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("emulated:2xh100/m", (2, "emulated:h100/m")),
        ("emulated:12xh100x4/m", (12, "emulated:h100x4/m")),
        ("emulated:h100x4/m", (1, "emulated:h100x4/m")),
        ("emulated:4090.toml/m", (1, "emulated:4090.toml/m")),
    ],
)
def test_a_number_before_the_device_is_that_of_the_instances(
    url: str, expected: tuple[int, str]
) -> None:
    assert instances_in(url) == expected


def test_requests_go_where_the_fewest_are_under_way() -> None:
    async def work(engine: Instances) -> tuple[list[float], float]:
        asked = [request("decode", None, "x" * (100 + i)) for i in range(8)]
        await asyncio.gather(*(engine.execute([each]) for each in asked))
        return [each.device_busy_s for each in engine.engines], now()

    (first, second), took_s = on_engine(f"emulated:2xh100/{BEHIND}", work)
    assert first == pytest.approx(second, rel=0.05)
    assert took_s < first + second


def test_what_goes_on_from_a_context_finds_its_kv() -> None:
    async def work(engine: Instances) -> list[int]:
        cached = []
        for number in range(4):  # the next one is another instance's turn
            prefilled = await one(engine, request("prefill", None, f"{number} " + "y" * 400))
            (context,) = prefilled.outputs
            decoded = await one(engine, request("decode", context, "go on"))
            cached.append(decoded.usage.prefill_tokens)
            assert await engine.pin(context) > 0
            context.release()
        return cached

    assert all(tokens < 50 for tokens in on_engine(f"emulated:3xh100/{BEHIND}", work))


def test_an_abort_reaches_the_instance_that_runs_the_request() -> None:
    async def work(engine: Instances) -> Any:
        asked = request("decode", None, "z" * 1000)
        running = asyncio.create_task(engine.execute([asked]))
        await asyncio.sleep(0.02)
        engine.abort(asked.id)
        (outcome,) = await running
        return outcome

    assert isinstance(on_engine(f"emulated:2xh100/{BEHIND}", work), EngineError)


def test_instances_have_the_slots_of_all_and_devices_of_their_own() -> None:
    two: Any = create("llm", "emulated:2xh100/llama-3.1-8b", {"max_running": 8})
    assert (two.info.num_slots, two.info.model) == (16, "emulated:2xh100/llama-3.1-8b")
    with pytest.raises(ConfigError, match="2 instances cannot share the device"):
        create("llm", "emulated:2xh100/llama-3.1-8b", {"device": "mine"})
