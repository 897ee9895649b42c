"""Fused prefills of an engine: side by side, aborted, cancelled, refused, and as plain text."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from backends.base import Chunk, Outcome, Request, Result
from backends.errors import EngineError, EngineUnavailable, RequestRejected, RequestTooLong
from backends.llm.core import LLMCore
from backends.llm.engine import LLMEngine
from backends.llm.fusion.named_plans import PLANS
from backends.llm.fusion.plans import Bools, Floats, Layout, Reuse

PREFIX = "Read this. "
CHUNKS = [f"Passage {i} tells of {i} ships and a storm." for i in range(6)]
NUMBERS = count(1)


@asynccontextmanager
async def running(tiny: Any, **options: Any) -> AsyncIterator[LLMEngine]:
    core = tiny.driver(stops=False, **options).core
    engine = LLMEngine("tiny", 8, lambda: core)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()
        core.check_integrity()


def fused(chunks: list[str], rest: str, fusion: str = "lego(4)") -> Request:
    inputs = (None, PREFIX, *map(Chunk, chunks), rest)
    return Request(f"{next(NUMBERS):032x}", "prefill", inputs, {"fusion": fusion})


async def text_after(engine: LLMEngine, prefill: Outcome) -> str:
    assert isinstance(prefill, Result), prefill
    attrs = {"max_tokens": 10, "ignore_eos": True}
    request = Request(f"{next(NUMBERS):032x}", "decode", (prefill.outputs[0],), attrs)
    (outcome,) = await engine.execute([request])
    assert isinstance(outcome, Result), outcome
    return str(outcome.outputs[0])


def test_requests_with_other_plans_share_chunks(tiny: Any) -> None:
    plans = ("reuse", "lego(4)", "lego(16)")

    async def main() -> None:
        async with running(tiny) as engine:
            requests = [fused(CHUNKS[i : i + 3], "?", plan) for i in range(3) for plan in plans]
            together = [await text_after(engine, o) for o in await engine.execute(requests)]
            assert engine.info.capabilities >= {"fusion"}
        async with running(tiny) as engine:
            alone = []
            for i in range(3):
                for plan in plans:
                    (outcome,) = await engine.execute([fused(CHUNKS[i : i + 3], "?", plan)])
                    alone.append(await text_after(engine, outcome))
        assert together == alone

    asyncio.run(main())


def test_without_fusion_a_chunk_is_its_text(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny) as engine:
            request = fused(CHUNKS, "?")
            plain = Request("a" * 32, "prefill", request.inputs, {})
            text = Request("b" * 32, "prefill", (None, PREFIX + "".join(CHUNKS) + "?"), {})
            outcomes = await engine.execute([plain, text])
            ids = [o.outputs[0].ids for o in outcomes if isinstance(o, Result)]
            assert ids[0] == ids[1]
            assert all(o.usage.fused_tokens == 0 for o in outcomes if isinstance(o, Result))

    asyncio.run(main())


@pytest.mark.parametrize("by_caller", [True, False])
def test_one_that_is_given_up_leaves_nothing(tiny: Any, by_caller: bool) -> None:
    """While its chunks are encoded."""

    async def main() -> None:
        async with running(tiny, token_budget=4) as engine:
            request = fused(CHUNKS, "?")
            task = asyncio.create_task(engine.execute([request]))
            while not (engine._core and engine._core.has_work):
                await asyncio.sleep(0)
            if by_caller:
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                engine.abort(request.id)
                (outcome,) = await task
                assert isinstance(outcome, EngineError)
                assert "aborted" in str(outcome)
            (after,) = await engine.execute([fused(CHUNKS, "?")])
            assert isinstance(after, Result)

    asyncio.run(main())


def test_nothing_is_computed_for_a_caller_that_is_cancelled(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny, token_budget=1) as engine:
            task = asyncio.create_task(engine.execute([fused(["x" * 200, "y" * 200], "?")]))
            while not (engine._core and engine._core.has_work):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            (after,) = await engine.execute([Request("c" * 32, "prefill", (None, "ab"), {})])
            assert isinstance(after, Result)
            assert isinstance(engine._core, LLMCore)
            assert engine._core.num_steps < 150  # of 600

    asyncio.run(main())


def test_a_chunk_that_does_not_fit_fails_its_request_alone(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny, context_len=300) as engine:
            wrong, right = await engine.execute([fused(["x" * 400], "?"), fused(CHUNKS[:2], "?")])
            assert isinstance(wrong, RequestTooLong)
            assert isinstance(right, Result)

    asyncio.run(main())


@pytest.mark.parametrize("plan", ["blend(0.2)", "lego(4)+alone", "craft(0.5)", "reuse+context(64)"])
def test_a_prompt_that_fits_is_answered_though_its_chunks_fill_pages_that_do_not(
    tiny: Any, plan: str
) -> None:
    async def main() -> None:
        async with running(tiny, context_len=300) as engine:
            for length in (150, 276):
                chunks = ["x" * length, "y" * (288 - length)]
                (outcome,) = await engine.execute([fused(chunks, "?", plan)])
                assert isinstance(outcome, Result), outcome
                assert outcome.outputs[0].num_tokens == 300

    asyncio.run(main())


@pytest.mark.parametrize("chunks", [[f"{i}: {CHUNKS[0]}" for i in range(100)], CHUNKS * 20])
def test_nothing_is_computed_of_chunks_that_fit_no_prompt(tiny: Any, chunks: list[str]) -> None:
    async def main() -> None:
        async with running(tiny) as engine:
            for part in (chunks, ["x" * 40_000], ["x" * 400, "y" * 400]):
                (outcome,) = await engine.execute([fused(part, "?", "query(0.2)")])
                assert isinstance(outcome, RequestTooLong)
                assert "shorten the prompt" in str(outcome)
            assert isinstance(engine._core, LLMCore)
            assert engine._core.num_steps == 0

    asyncio.run(main())


def test_a_small_pool_gives_room_to_all_in_turn(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny, kv_tokens=384) as engine:
            requests = [fused(CHUNKS[i : i + 3], f" {i}?") for i in range(4)] * 1
            outcomes = await engine.execute(requests)
            assert all(isinstance(outcome, Result) for outcome in outcomes), outcomes

    asyncio.run(main())


BAD_INPUTS: dict[str, tuple[Any, ...]] = {
    "a chunk as context": (Chunk(CHUNKS[0]), Chunk(CHUNKS[0])),
    "only a chunk as context": (Chunk(CHUNKS[0]),),
    "a text as context": ("abc", Chunk(CHUNKS[0])),
    "a number as context": (5, PREFIX, Chunk(CHUNKS[0])),
    "a list before the chunks": (None, ["a"], Chunk(CHUNKS[0])),
    "a list behind the chunks": (None, Chunk(CHUNKS[0]), ["a"]),
    "nothing before the chunks": (None, None, Chunk(CHUNKS[0])),
}
BAD_ATTRS: list[dict[str, Any]] = [
    {"cache_salt": ["x"]},
    {"cache_salt": 5},
    {"cache_salt": ""},
    {"stage": "look"},
    {"adapter": ["x"]},
    {"tools": 5},
    {"temperature": 1},
]
GOOD = (None, PREFIX, *map(Chunk, CHUNKS[:2]))


@pytest.mark.parametrize("op", ["prefill", "encode"])
def test_what_is_no_prompt_is_refused_and_others_are_answered(tiny: Any, op: str) -> None:
    """Also where its chunks are known."""
    plan = {"fusion": "lego(4)"} if op == "prefill" else {}

    def asked(inputs: tuple[Any, ...], attrs: Any) -> Request:
        return Request(f"{next(NUMBERS):032x}", op, inputs, {**plan, **attrs})

    async def main() -> None:
        async with running(tiny) as engine:
            wrong = [asked(inputs, {}) for inputs in BAD_INPUTS.values()]
            wrong += [asked(GOOD, attrs) for attrs in BAD_ATTRS]
            (first,) = await engine.execute([asked(GOOD, {})])
            *refused, last = await engine.execute([*wrong, asked(GOOD, {})])
            assert isinstance(first, Result)
            assert isinstance(last, Result)
            assert [type(outcome) for outcome in refused] == [RequestRejected] * len(wrong)

    asyncio.run(main())


@dataclass(frozen=True)
class Broken(Reuse):
    """A plan with a mistake of its own."""

    def choose(self, layout: Layout, found: Sequence[Floats]) -> Bools:
        return layout.none()[: len(found) - 5]


def test_a_plan_that_fails_fails_its_request_alone(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PLANS, "broken", Broken)

    async def main() -> None:
        async with running(tiny) as engine:
            wrong, right = await engine.execute(
                [fused(CHUNKS[:2], "?", "broken"), fused(CHUNKS[:2], "?")]
            )
            assert isinstance(wrong, EngineError)
            assert "prefill of chunks failed" in str(wrong)
            assert isinstance(right, Result)

    asyncio.run(main())


@pytest.mark.parametrize("num_parts", range(1, 9))
def test_an_engine_closed_between_two_parts_of_a_prompt_answers_it(
    tiny: Any, num_parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its prefix, a chunk, a look, or what is left."""

    async def main() -> None:
        async with running(tiny) as engine:
            plain, parts = engine._enter, count(1)

            def enter(request: Request, loop: asyncio.AbstractEventLoop) -> Any:
                if next(parts) == num_parts:
                    engine._inbox.close()
                    engine._core = None
                return plain(request, loop)

            monkeypatch.setattr(engine, "_enter", enter)
            (outcome,) = await engine.execute([fused(CHUNKS[:3], "?", "gradual(0.3)")])
            assert isinstance(outcome, EngineUnavailable), outcome

    asyncio.run(main())


def test_a_fused_prefill_that_is_heard_tells_of_all_its_parts(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny, page_size=4) as engine:
            request = fused(CHUNKS[:2], "Which ships sank, and in which storm?")
            request.is_heard = True
            (outcome,) = await engine.execute([request])
            assert isinstance(outcome, Result), outcome
            served = outcome.served
            assert served is not None
            assert served.num_steps >= served.num_chunks >= 3  # the prefix, a chunk, the rest
            assert served.first_step == 1
            outcome.outputs[0].release()

    asyncio.run(main())
