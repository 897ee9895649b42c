"""Requests of several clients in one batch."""

import asyncio
from typing import Any

import pytest

from backends.base import Request
from backends.errors import EngineError
from backends.fake.retrieval import FakeEmbedder
from teola.serving.batcher import Batcher


def embed(number: int, *texts: str) -> Request:
    return Request(f"{number:032x}", "embed", (list(texts),), num_items=len(texts))


def sizes(engine: FakeEmbedder) -> list[int]:
    return [len(batch) for batch in engine.journal]


def engine_of(**options: Any) -> FakeEmbedder:
    return FakeEmbedder("fake:", {"latency_s": 0.01, **options})


def test_what_comes_while_a_batch_runs_runs_together_in_the_next() -> None:
    async def main() -> list[int]:
        engine = engine_of()
        batcher = Batcher(engine)
        first = asyncio.create_task(batcher.run(embed(0, "a")))
        await asyncio.sleep(0.005)
        results = await asyncio.gather(*(batcher.run(embed(n, "b")) for n in range(1, 6)))
        assert [result.usage.num_items for result in results] == [1] * 5
        await first
        return sizes(engine)

    assert asyncio.run(main()) == [1, 5]


def test_a_batch_holds_no_more_items_than_the_engine_takes() -> None:
    async def main() -> list[int]:
        engine = engine_of(max_batch_items=4)
        batcher = Batcher(engine)
        jobs = [embed(0, *"abcdef"), embed(1, *"abc"), embed(2, "a"), embed(3, "b")]
        await asyncio.gather(*(batcher.run(job) for job in jobs))
        return sizes(engine)

    assert asyncio.run(main()) == [1, 2, 1]  # one that is too large runs alone


def test_a_client_that_is_gone_is_left_out() -> None:
    async def main() -> list[int]:
        engine = engine_of()
        batcher = Batcher(engine)
        tasks = [asyncio.create_task(batcher.run(embed(n, "a"))) for n in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return sizes(engine)

    assert sum(asyncio.run(main())) == 3


def test_an_engine_that_breaks_fails_those_of_its_batch_and_no_later_ones() -> None:
    async def main() -> None:
        engine = engine_of()
        batcher = Batcher(engine)
        execute = engine.execute
        engine.execute = lambda requests: 1 / 0  # type: ignore[method-assign, assignment]
        with pytest.raises(ZeroDivisionError):
            await batcher.run(embed(0, "a"))
        engine.execute = execute  # type: ignore[method-assign]
        await batcher.run(embed(1, "a"))

    asyncio.run(main())


def test_a_failure_of_one_request_is_its_own() -> None:
    async def main() -> None:
        batcher = Batcher(engine_of(fail={"embed": "no"}))
        with pytest.raises(EngineError, match="no"):
            await batcher.run(embed(0, "a"))

    asyncio.run(main())
