"""Requests are read beside the steps, never by the thread that runs them."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest

from backends.base import Request, Result
from backends.errors import (
    EngineOverloaded,
    EngineUnavailable,
    RequestAborted,
    RequestRejected,
    RequestTooLong,
)
from backends.llm.engine import LLMEngine

NUMBERS = count(1)


def request(op: str, *inputs: Any, emit: Any = None, **attrs: Any) -> Request:
    return Request(f"{next(NUMBERS):032x}", op, inputs, attrs, emit=emit)


def put_forward(seconds: float) -> None:
    """The clock of the loop's timers."""
    loop = asyncio.get_running_loop()
    time = loop.time
    loop.time = lambda: time() + seconds  # type: ignore[method-assign]


class Slow:
    """Makes grammars take until `release`, and says who read what."""

    def __init__(self, core: Any) -> None:
        self.release = threading.Event()
        self.release_later = threading.Event()  # those that are read after it
        self.release_later.set()
        self.readers: list[str] = []
        self._prepare = core.prepare
        core.prepare = self.prepare

    def prepare(self, given: Request) -> Any:
        self.readers.append(threading.current_thread().name)
        if given.attrs.get("regex"):
            held = self.release_later if self.release.is_set() else self.release
            held.wait(60)
        return self._prepare(given)

    async def are_read(self, num_grammars: int) -> None:
        """By their threads, which the loop has heard of."""
        while len(self.readers) <= num_grammars:  # the context's was the first
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)


@asynccontextmanager
async def running(tiny: Any, limit_s: float = 30) -> AsyncIterator[tuple[LLMEngine, Any, Slow]]:
    core = tiny.driver(stops=False).core
    slow = Slow(core)
    engine = LLMEngine("tiny", 8, lambda: core, limit_s)
    await engine.start()
    try:
        (outcome,) = await engine.execute([request("prefill", None, "abc")])
        yield engine, outcome.outputs[0], slow
    finally:
        slow.release.set()
        slow.release_later.set()
        await engine.close()
        core.check_integrity()


def test_a_heavy_grammar_stalls_no_other_request(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny) as (engine, context, slow):
            heavy = asyncio.create_task(engine.execute([request("decode", context, regex="[ab]")]))
            await asyncio.sleep(0)
            (quick,) = await engine.execute([request("decode", context, max_tokens=20)])
            assert isinstance(quick, Result)
            assert not heavy.done()
            slow.release.set()
            (result,) = await heavy
            assert result.outputs[0] in ("a", "b")
            assert not any(name.startswith("llm tiny") for name in slow.readers)

    asyncio.run(main())


def test_a_long_prompt_is_read_on_a_thread(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny) as (engine, _, slow):
            await engine.execute([request("prefill", None, "x" * 10_000)])  # too long, in the end
            await engine.execute([request("prefill", None, "x")])
            assert [name.startswith("llm prepare") for name in slow.readers[1:]] == [True, False]

    asyncio.run(main())


def test_reading_has_a_time_limit(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny, limit_s=30) as (engine, context, slow):
            task = asyncio.create_task(engine.execute([request("decode", context, regex="[ab]")]))
            await slow.are_read(1)
            put_forward(31)
            (outcome,) = await task
            assert isinstance(outcome, RequestRejected)
            assert "took more than 30 s" in str(outcome)

    asyncio.run(main())


@pytest.mark.parametrize("how", ["abort", "close"])
def test_what_is_being_read_can_be_aborted_and_closed(tiny: Any, how: str) -> None:
    async def main() -> None:
        async with running(tiny) as (engine, context, slow):
            heavy = request("decode", context, regex="[ab]")
            task = asyncio.create_task(engine.execute([heavy]))
            await slow.are_read(1)
            if how == "abort":
                engine.abort(heavy.id)
            else:
                await engine.close()
            (outcome,) = await task
            expected = RequestAborted if how == "abort" else EngineUnavailable
            assert type(outcome) is expected
            slow.release.set()

    asyncio.run(main())


def test_a_cancelled_caller_leaves_nothing_behind(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny) as (engine, context, slow):
            task = asyncio.create_task(engine.execute([request("decode", context, regex="[ab]")]))
            await slow.are_read(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            slow.release.set()
            (outcome,) = await engine.execute([request("decode", context, max_tokens=3)])
            assert isinstance(outcome, Result)

    asyncio.run(main())


def test_a_bad_grammar_stands_in_its_place(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny) as (engine, context, slow):
            slow.release.set()
            bad, good = await engine.execute(
                [request("decode", context, regex="("), request("decode", context, max_tokens=2)]
            )
            assert isinstance(bad, RequestRejected)
            assert isinstance(good, Result)

    asyncio.run(main())


def test_a_long_prompt_waits_for_no_grammar(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny) as (engine, context, slow):
            heavy = [
                asyncio.create_task(engine.execute([request("decode", context, regex="[ab]")]))
                for _ in range(8)
            ]
            await asyncio.sleep(0)
            prompt = request("prefill", None, "x" * 10_000)
            (outcome,) = await asyncio.wait_for(engine.execute([prompt]), 60)
            assert isinstance(outcome, RequestTooLong)  # it was read
            assert not any(task.done() for task in heavy)
            slow.release.set()
            await asyncio.gather(*heavy)

    asyncio.run(main())


def test_who_waits_for_a_thread_is_not_told_that_its_request_is_too_heavy(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny, limit_s=30) as (engine, context, slow):
            requests = [request("decode", context, regex="[ab]") for _ in range(6)]
            task = asyncio.create_task(engine.execute(requests))
            await slow.are_read(4)
            put_forward(31)
            outcomes = await task
            kinds = [type(outcome) for outcome in outcomes]
            assert kinds == [RequestRejected] * 4 + [EngineOverloaded] * 2
            assert "waited 30 s to be read" in str(outcomes[5])
            num_readers = len(slow.readers)
            slow.release.set()
            (outcome,) = await engine.execute([request("decode", context, regex="[ab]")])
            assert isinstance(outcome, Result)
            assert len(slow.readers) == num_readers + 1  # who was answered is not read any more

    asyncio.run(main())


def test_the_time_to_be_read_starts_when_a_thread_takes_the_request(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny, limit_s=30) as (engine, context, slow):
            requests = [request("decode", context, regex="[ab]") for _ in range(5)]
            first = asyncio.create_task(engine.execute(requests[:4]))
            fifth = asyncio.create_task(engine.execute(requests[4:]))
            await slow.are_read(4)
            put_forward(20)  # the fifth waits
            slow.release_later.clear()
            slow.release.set()
            assert all(isinstance(outcome, Result) for outcome in await first)
            await slow.are_read(5)
            put_forward(20)
            for _ in range(5):
                await asyncio.sleep(0)
            assert not fifth.done()
            slow.release_later.set()
            (outcome,) = await fifth
            assert isinstance(outcome, Result)

    asyncio.run(main())
