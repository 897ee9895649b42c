"""Real servers, where there are some: TEOLA_TEST_SGLANG_URL and TEOLA_TEST_VLLM_URL name them, as
`vllm://localhost:8000//models/smollm2-135m`. Their model should be a folder of this machine: what
is written is then compared with the embedded engine in float32."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from recorded_server import ask

from backends.base import Engine, Request, Result, Turn
from backends.engine_load import ReportsLoad
from backends.errors import EngineError
from backends.llm.factory import create
from backends.remote.llm import make
from backends.remote.url import parse_url

pytestmark = [pytest.mark.server, pytest.mark.model]

CHAT = (Turn("user"), "Name three fruits, with a colour each.", Turn("assistant"))
LONG = "The quick brown fox jumps over the lazy dog, and then it sleeps for a while. " * 20
VARIABLES = ("TEOLA_TEST_SGLANG_URL", "TEOLA_TEST_VLLM_URL")


@pytest.fixture(params=VARIABLES)
def url(request: pytest.FixtureRequest) -> str:
    found = os.environ.get(request.param)
    if not found:
        pytest.skip(f"{request.param} names no server")
    return found


@asynccontextmanager
async def started(url: str) -> AsyncIterator[Engine]:
    options = {"tokenizer": os.environ[t]} if (t := "TEOLA_TEST_TOKENIZER") in os.environ else {}
    engine = make(parse_url(url), options)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.close()


def live(url: str, work: Callable[[Engine], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(300), started(url) as engine:
            await work(engine)

    asyncio.run(main())


async def result_of(engine: Engine, op: str, *inputs: Any, **rest: Any) -> Result:
    outcome = await ask(engine, op, *inputs, **rest)
    assert isinstance(outcome, Result), outcome
    return outcome


async def conversation(engine: Engine) -> list[Any]:
    """Texts and tokens of what the embedded engine would write too."""
    found: list[Any] = []
    system = (await result_of(engine, "prefill", None, Turn("system"), "Be brief.")).outputs[0]
    for question in ("What is the capital of France?", "Count from one to five."):
        turn = (Turn("user"), question, Turn("assistant"))
        first = await result_of(engine, "decode", system, *turn, max_tokens=24)
        turn = (Turn("user"), "Say it again.", Turn("assistant"))
        again = await result_of(engine, "decode", first.outputs[1], *turn, max_tokens=24)
        found += [first.outputs[0], again.outputs[0], list(again.outputs[1].ids)]
    stopped = await result_of(engine, "decode", None, *CHAT, max_tokens=40, stop=[".", "\n"])
    found += [stopped.outputs[0], list(stopped.outputs[1].ids), stopped.samples[0].stop]
    chosen = {"max_tokens": 24, "choices": ["an apple", "a pear", "a plum"]}
    found.append((await result_of(engine, "decode", None, *CHAT, **chosen)).outputs[0])
    return found


def test_greedy_answers_are_those_of_the_embedded_engine(url: str) -> None:
    folder = parse_url(url).model
    if folder is None or not Path(folder, "config.json").is_file():
        pytest.skip(f"{folder} is no folder here")

    async def work(engine: Engine) -> None:
        local = create("llm", f"local:{folder}", {"dtype": "float32", "kv_tokens": 8192})
        await local.start()
        try:
            assert await conversation(engine) == await conversation(local)
            contexts = [
                (await result_of(e, "prefill", None, *CHAT)).outputs[0] for e in (engine, local)
            ]
            choices = ["Apple", "A banana is yellow", "zebra crossing"]
            theirs = await result_of(engine, "select", contexts[0], choices)
            ours = await result_of(local, "select", contexts[1], choices)
            assert theirs.outputs[0] == ours.outputs[0]
            assert theirs.outputs[1] == pytest.approx(ours.outputs[1], abs=1e-3)
            assert theirs.outputs[2].ids == ours.outputs[2].ids
            attrs = {"max_tokens": 5, "logprobs": 3, "ignore_eos": True}
            theirs = await result_of(engine, "decode", None, *CHAT, **attrs)
            ours = await result_of(local, "decode", None, *CHAT, **attrs)
            rows = zip(theirs.samples[0].logprobs, ours.samples[0].logprobs, strict=True)
            for their, our in rows:
                assert (their.id, their.raw) == (our.id, our.raw)
                assert their.logprob == pytest.approx(our.logprob, abs=1e-3)
                assert [t.id for t in their.top] == [t.id for t in our.top]
        finally:
            await local.close()

    live(url, work)


def test_a_stream_is_the_whole_answer_in_pieces(url: str) -> None:
    async def work(engine: Engine) -> None:
        attrs = {"max_tokens": 20, "stop": ["zebra"]}
        whole = await result_of(engine, "decode", None, *CHAT, **attrs)
        shown: list[str] = []
        streamed = await result_of(engine, "decode", None, *CHAT, emit=shown.append, **attrs)
        assert "".join(shown) == streamed.outputs[0] == whole.outputs[0]
        assert streamed.outputs[1].ids == whole.outputs[1].ids
        assert len(shown) > 3
        assert streamed.usage.decode_tokens == whole.usage.decode_tokens

    live(url, work)


def test_a_prefill_ahead_is_found_in_the_cache(url: str) -> None:
    async def work(engine: Engine) -> None:
        if "cached_tokens" not in engine.info.capabilities:
            pytest.skip("the server does not tell cached tokens")
        salt = os.urandom(8).hex()
        ahead = await result_of(engine, "prefill", None, LONG, ahead=True, cache_salt=salt)
        assert ahead.usage.cached_tokens == 0
        assert ahead.usage.prefill_tokens == ahead.outputs[0].num_tokens
        after = await result_of(engine, "decode", ahead.outputs[0], "Now", max_tokens=1)
        assert after.usage.cached_tokens > ahead.outputs[0].num_tokens // 2

    live(url, work)


def test_a_pattern_is_followed(url: str) -> None:
    pattern = "(red|green|blue) [a-z]{3,8}"

    async def work(engine: Engine) -> None:
        result = await result_of(engine, "decode", None, *CHAT, max_tokens=24, regex=pattern)
        assert re.fullmatch(pattern, result.outputs[0])

    live(url, work)


def test_json_follows_its_schema(url: str) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 10}, "ripe": {"type": "boolean"}},
        "required": ["name", "ripe"],
        "additionalProperties": False,
    }

    async def work(engine: Engine) -> None:
        attrs = {"max_tokens": 120, "schema": schema}
        result = await result_of(engine, "decode", None, *CHAT, **attrs)
        assert set(json.loads(result.outputs[0])) == {"name", "ripe"}

    live(url, work)


def test_samples_differ_and_seeds_repeat(url: str) -> None:
    async def work(engine: Engine) -> None:
        attrs = {"max_tokens": 12, "temperature": 1.0, "n": 3}
        samples = await result_of(engine, "generate", *CHAT, **attrs)
        assert len(set(samples.outputs[0])) > 1
        if "seed" in engine.info.capabilities:
            first = await result_of(engine, "generate", *CHAT, **attrs, seed=11)
            again = await result_of(engine, "generate", *CHAT, **attrs, seed=11)
            assert first.outputs == again.outputs

    live(url, work)


def test_an_abort_ends_the_servers_work(url: str) -> None:
    async def work(engine: Engine) -> None:
        assert isinstance(engine, ReportsLoad)
        shown = asyncio.Event()
        attrs = {"max_tokens": 1500, "ignore_eos": True}
        request = Request("cd" * 16, "decode", (None, *CHAT), attrs, emit=lambda _: shown.set())
        running = asyncio.create_task(engine.execute([request]))
        await shown.wait()
        engine.abort(request.id)
        (outcome,) = await running
        assert isinstance(outcome, EngineError)
        async with asyncio.timeout(60):
            while (await engine.load()).num_running:
                await asyncio.sleep(0.1)

    live(url, work)


def test_priorities_are_taken_or_left_out(url: str) -> None:
    async def work(engine: Engine) -> None:
        for priority in (-1, 0, 5):
            await result_of(engine, "decode", None, *CHAT, max_tokens=2, priority=priority)

    live(url, work)
