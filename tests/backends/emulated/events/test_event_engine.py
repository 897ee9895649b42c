"""`detail=events`: texts, contexts and ends as other LLM engines have them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from backends.base import Request, Result, Tokens, Turn
from backends.emulated.factory import create
from backends.errors import ConfigError, EngineUnavailable, RequestAborted, RequestTooLong
from runtime.clock import now, run_virtual
from runtime.dispatch import new_request_id

T = TypeVar("T")
URL = "emulated:h100/llama-3.1-8b?detail=events"


def on_engine(work: Callable[[Any], Awaitable[T]], options: str = "") -> T:
    async def main() -> T:
        engine: Any = create("llm", URL + options, {})
        await engine.start()
        try:
            return await work(engine)
        finally:
            await engine.close()

    return run_virtual(main())


def request(op: str, *inputs: Any, **attrs: Any) -> Request:
    return Request(new_request_id(), op, inputs, attrs)


async def one(engine: Any, asked: Request) -> Result:
    (outcome,) = await engine.execute([asked])
    assert isinstance(outcome, Result), outcome
    return outcome


def test_a_prompt_in_two_requests_finds_its_kv_and_says_the_same() -> None:
    async def work(engine: Any) -> None:
        whole = await one(engine, request("decode", None, Turn("user"), "Why? " * 50, max_tokens=9))
        (context,) = (await one(engine, request("prefill", None, Turn("user")))).outputs
        rest = await one(engine, request("decode", context, "Why? " * 50, max_tokens=9))
        assert rest.outputs[0] == whole.outputs[0]
        assert rest.usage.cached_tokens > 48
        assert whole.finish_reason == "length"
        assert whole.outputs[1].num_tokens == whole.usage.prefill_tokens + 9

    on_engine(work)


def test_a_prompt_that_is_all_there_costs_its_last_token() -> None:
    async def work(engine: Any) -> None:
        ids = Tokens(tuple(range(64)))
        await one(engine, request("prefill", None, ids))
        again = await one(engine, request("prefill", None, ids))
        assert (again.usage.prefill_tokens, again.usage.cached_tokens) == (1, 63)

    on_engine(work)


def test_texts_keep_to_their_form_and_samples_differ() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}

    async def work(engine: Any) -> None:
        asked = request("generate", "Count", schema=json.dumps(schema))
        assert isinstance(json.loads((await one(engine, asked)).outputs[0])["n"], int)
        asked = request("decode", None, "Say", n=3, seed=1, temperature=1.0, max_tokens=20)
        texts, contexts = (await one(engine, asked)).outputs
        assert len(set(texts)) == len(contexts) == 3
        (context,) = (await one(engine, request("prefill", None, "Choose: "))).outputs
        chosen, scores, _ = (await one(engine, request("select", context, ["a", "b"]))).outputs
        assert scores[["a", "b"].index(chosen)] == max(scores)

    on_engine(work)


def test_a_text_begins_with_its_first_token_and_comes_whole() -> None:
    async def work(engine: Any) -> None:
        pieces: list[tuple[float, str]] = []
        asked = request("decode", None, "Tell me all of it", max_tokens=50)
        asked.emit = lambda text: pieces.append((now(), text))
        result = await one(engine, asked)
        assert "".join(text for _, text in pieces) == result.outputs[0]
        assert 0 < pieces[0][0] < pieces[-1][0] / 10

    on_engine(work, "&output_tokens=50")


def test_a_request_that_comes_in_a_jump_waits_for_one_step() -> None:
    async def work(engine: Any) -> None:
        long = asyncio.create_task(one(engine, request("decode", None, "long", max_tokens=500)))
        await asyncio.sleep(0.5)
        began_s = now()
        await one(engine, request("prefill", None, "short"))
        assert now() - began_s < 0.04
        assert not long.done()
        await long

    on_engine(work, "&output_tokens=500")


def test_an_abort_ends_a_request_with_what_it_had_cost_and_frees_its_place() -> None:
    async def work(engine: Any) -> None:
        asked = request("decode", None, "x" * 400, max_tokens=500)
        running = asyncio.create_task(engine.execute([asked]))
        await asyncio.sleep(0.3)
        engine.abort(asked.id)
        (outcome,) = await running
        assert isinstance(outcome, RequestAborted)
        assert outcome.usage.prefill_tokens == 100
        began_s = now()
        await one(engine, request("prefill", None, "next"))
        assert now() - began_s < 0.04, "one place, and it is free"

    on_engine(work, "&output_tokens=500&max_running=1")


def test_what_cannot_run_is_said() -> None:
    async def work(engine: Any) -> list[Any]:
        asked = [
            request("prefill", None, "x" * 1000),
            request("decode", None, "x", logprobs=1),
            request("prefill", None, ""),
        ]
        outcomes = list(await engine.execute(asked))
        await engine.close()
        return outcomes + await engine.execute([request("prefill", None, "x")])

    long, logprobs, empty, closed = on_engine(work, "&context_len=100")
    assert isinstance(long, RequestTooLong)
    assert "no logprobs" in str(logprobs)
    assert "empty" in str(empty)
    assert isinstance(closed, EngineUnavailable)


@pytest.mark.parametrize(
    ("option", "said"),
    [("eviction=lru", "unknown option 'eviction'"), ("policy=lpm", "there is no policy 'lpm'")],
)
def test_options_that_would_change_nothing_are_refused(option: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        create("llm", f"{URL}&{option}", {})
