"""Overload refuses new queries at the door, and harms none that has begun."""

import asyncio
from typing import Any

import pytest

from backends.errors import EngineOverloaded
from backends.registry import EngineSpec
from graph_opt.text import parse
from runtime.clock import now, run_virtual
from runtime.layout import layout_of
from runtime.service import Runtime

TWICE = """\
graph g {
  %a = embed "x" [engine="it"]
  %c = embed "y" [engine="it"]
  return %a, %c
}"""


class World:
    def __init__(self, max_queries: int = 10_000, **options: Any) -> None:
        self.runtime = Runtime(max_queries=max_queries)
        spec = EngineSpec("embedder", "fake:", {"latency_s": 1.0, "max_batch_items": 1, **options})
        self.specs = {"it": spec}
        self.scheduler = self.runtime.scheduler("it", spec)

    async def ask(self, **options: Any) -> Any:
        try:
            return await self.runtime.run(layout_of(parse(TWICE)), {}, self.specs, {}, **options)
        except Exception as error:
            return error


def test_a_query_behind_too_many_requests_is_refused_and_those_inside_end_well() -> None:
    world = World(max_waiting=10)

    async def main() -> list[Any]:
        tasks = []
        for _ in range(20):
            tasks.append(asyncio.create_task(world.ask()))
            await asyncio.sleep(0.001)
        outcomes = await asyncio.gather(*tasks)
        late = await world.ask()
        await world.runtime.close()
        return [*outcomes, late]

    *outcomes, late = run_virtual(main())
    refused = [one for one in outcomes if isinstance(one, EngineOverloaded)]
    assert len(refused) == 14  # each has two requests, and one runs
    assert all(isinstance(one, list) for one in outcomes if one not in refused)
    assert isinstance(late, list)
    assert refused[0].retry_after_s == 1.0
    assert "11 requests wait at engine 'it'" in str(refused[0])


def test_the_time_that_a_refusal_asks_for_is_how_long_others_wait() -> None:
    world = World(max_waiting=1, latency_s=8.0)

    async def main() -> Any:
        task = asyncio.create_task(world.ask())
        await asyncio.sleep(7.5)
        error = await world.ask()
        await task
        await world.runtime.close()
        return error

    error = run_virtual(main())
    assert isinstance(error, EngineOverloaded)
    assert error.retry_after_s == 7.5


def test_no_more_queries_run_at_once_than_the_runtime_takes() -> None:
    world = World(max_queries=3)

    async def main() -> list[Any]:
        outcomes = await asyncio.gather(*(world.ask() for _ in range(5)))
        await world.runtime.close()
        return outcomes

    outcomes = run_virtual(main())
    assert [isinstance(one, list) for one in outcomes] == [True, True, True, False, False]
    assert "3 queries run in this process" in str(outcomes[3])


def test_what_is_part_of_a_query_is_let_in() -> None:
    world = World(max_queries=1, max_waiting=1)

    async def main() -> Any:
        with world.runtime.door.entered():
            outcomes = await asyncio.gather(*(world.ask() for _ in range(5)))
            draining = asyncio.create_task(world.runtime.drain())
            await asyncio.sleep(0)
            outcomes.append(await world.ask())
            assert not draining.done()
        assert await draining
        await world.runtime.close()
        return outcomes

    assert all(isinstance(one, list) for one in run_virtual(main()))


def test_a_runtime_that_drains_takes_nothing_new_and_ends_what_runs() -> None:
    world = World()

    async def main() -> None:
        task = asyncio.create_task(world.ask())
        await asyncio.sleep(0.5)
        assert not await world.runtime.drain(0.5)
        assert not task.done()
        refused = await world.ask()
        assert isinstance(refused, EngineOverloaded)
        assert refused.retry_after_s is None
        assert await world.runtime.drain()
        assert isinstance(await task, list)
        assert now() == 2.0
        world.runtime.door.open()
        assert isinstance(await world.ask(), list)
        await world.runtime.close()

    run_virtual(main())


def test_a_cancelled_query_leaves_its_place() -> None:
    world = World(max_queries=1)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await world.ask()
        assert isinstance(await world.ask(), list)
        await world.runtime.close()

    run_virtual(main())


def test_ten_thousand_queries_are_served_or_refused_and_none_is_lost() -> None:
    world = World(max_waiting=1000, latency_s=0.001)

    async def main() -> list[Any]:
        tasks = []
        for i in range(10_000):
            tasks.append(asyncio.create_task(world.ask()))
            if i % 100 == 0:
                await asyncio.sleep(0)
        outcomes = await asyncio.gather(*tasks)
        assert not world.scheduler.num_jobs
        await world.runtime.close()
        return outcomes

    outcomes = run_virtual(main())
    served = sum(isinstance(one, list) for one in outcomes)
    refused = sum(isinstance(one, EngineOverloaded) for one in outcomes)
    assert served + refused == 10_000
    assert served >= 500
