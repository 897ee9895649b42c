"""Chunks whose KV is computed before a prompt asks for it."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from backends.base import Chunk, Outcome, Request, Result, Turn
from backends.errors import EngineError, RequestTooLong
from backends.llm.engine import LLMEngine

PREFIX = "Read this. "
CHUNKS = [f"Passage {i} tells of {i} ships and a storm." for i in range(4)]


def run(tiny: Any, *batches: list[Request], **options: Any) -> list[list[Outcome]]:
    core = tiny.driver(stops=False, **options).core

    async def main() -> list[list[Outcome]]:
        engine = LLMEngine("tiny", 8, lambda: core)
        await engine.start()
        try:
            return [await engine.execute(batch) for batch in batches]
        finally:
            await engine.close()
            core.check_integrity()

    return asyncio.run(main())


def encode(chunks: list[str], name: str = "e", *head: Any) -> Request:
    inputs = (None, *(head or (PREFIX,)), *map(Chunk, chunks))
    return Request(name * 32, "encode", inputs)


def fused(chunks: list[str], *head: Any) -> Request:
    inputs = (None, *(head or (PREFIX,)), *map(Chunk, chunks), "?")
    return Request("f" * 32, "prefill", inputs, {"fusion": "reuse"})


def ok(outcome: Outcome) -> Result:
    assert isinstance(outcome, Result), outcome
    return outcome


def test_a_prompt_encodes_nothing_that_was_encoded_ahead(tiny: Any) -> None:
    ((ahead,), (prompt,)) = run(tiny, [encode(CHUNKS)], [fused(CHUNKS[::-1])])
    assert ok(ahead).outputs == (4,)
    assert ok(ahead).usage.prefill_tokens > 4 * len(CHUNKS[0])
    assert ok(prompt).fusion.num_encoded == 0  # type: ignore[union-attr]


def test_the_same_chunks_behind_another_head_are_other_chunks(tiny: Any) -> None:
    ((_,), (prompt,)) = run(tiny, [encode(CHUNKS)], [fused(CHUNKS, Turn("user"), "Look. ")])
    assert ok(prompt).fusion.num_encoded == 4  # type: ignore[union-attr]


def test_chunks_are_encoded_ahead_behind_the_text_that_a_plan_names(tiny: Any) -> None:
    plan = {"fusion": "reuse+context(30)"}
    ahead, prompt = encode(CHUNKS), fused(CHUNKS[::-1])
    ((_,), (other,)) = run(tiny, [ahead], [replace(prompt, attrs=plan)])
    assert ok(other).fusion.num_encoded == 4  # type: ignore[union-attr]
    ((_,), (same,)) = run(tiny, [replace(ahead, attrs=plan)], [replace(prompt, attrs=plan)])
    assert ok(same).fusion.num_encoded == 0  # type: ignore[union-attr]


def test_what_is_there_is_not_counted_and_not_computed_again(tiny: Any) -> None:
    nothing = Request("b" * 32, "encode", (None, "x"))
    _, (again, none) = run(tiny, [encode(CHUNKS[:3])], [encode(CHUNKS, "a"), nothing])
    assert ok(again).outputs == (1,)
    assert ok(none).outputs == (0,)


def test_nothing_is_held_when_it_has_ended(tiny: Any) -> None:
    """`check_integrity` of the closed engine sees contexts that somebody still holds."""
    ((_,), (prompt,)) = run(tiny, [encode(CHUNKS * 4)], [encode(CHUNKS, "a")], kv_tokens=512)
    assert ok(prompt).outputs[0] <= 4


def test_a_chunk_that_does_not_fit_fails_the_request(tiny: Any) -> None:
    ((outcome,),) = run(tiny, [encode(["x" * 400])], context_len=300)
    assert isinstance(outcome, RequestTooLong)


def test_it_can_be_aborted(tiny: Any) -> None:
    core = tiny.driver(stops=False, token_budget=4).core

    async def main() -> None:
        engine = LLMEngine("tiny", 8, lambda: core)
        await engine.start()
        request = encode(CHUNKS)
        task = asyncio.create_task(engine.execute([request]))
        while not core.has_work:
            await asyncio.sleep(0)
        engine.abort(request.id)
        (outcome,) = await task
        await engine.close()
        assert isinstance(outcome, EngineError)
        assert "aborted" in str(outcome)

    asyncio.run(main())


@pytest.mark.parametrize("salt", [None, "other"])
def test_tenants_share_no_chunks(tiny: Any, salt: str | None) -> None:
    request = encode(CHUNKS)
    request.attrs = {} if salt is None else {"cache_salt": salt}
    ((_,), (prompt,)) = run(tiny, [request], [fused(CHUNKS)])
    assert ok(prompt).fusion.num_encoded == (0 if salt is None else 4)  # type: ignore[union-attr]
