"""Text mode at a real vLLM: messages in, text out, by its own tokenizer and template.

The embedded engine on the same fp32 weights is what greedy answers are held to.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

import pytest

from backends.base import Outcome, Part, Request, Result, Turn
from backends.errors import EngineError, RequestRejected, RequestTooLong
from backends.registry import EngineSpec, create

Call = Callable[..., Awaitable[Result]]
Run = Callable[..., Any]
Ask = Callable[..., Result]

pytestmark = [pytest.mark.server, pytest.mark.model]

QUESTION: tuple[Part, ...] = (Turn("user"), "What is a", " database?", Turn("assistant"))
CHAT: tuple[Part, ...] = (
    Turn("system"),
    "Answer in one sentence.",
    Turn("user"),
    "Who are you?",
    Turn("assistant"),
    "A helper.",
    Turn("user"),
    "Name three colours.",
    Turn("assistant"),
)
BEGUN = (*QUESTION, "A database stores")
EMBEDDED = {"dtype": "float32", "threads": 1}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def outcomes(url: str, *requests: Request, **options: Any) -> list[Outcome]:
    async def main() -> list[Outcome]:
        engine = create(EngineSpec("llm", url, options))
        try:
            await engine.start()
            return await engine.execute(requests)
        finally:
            await engine.close()

    return asyncio.run(asyncio.wait_for(main(), 120))


@pytest.fixture
def asked(on_server: Run) -> Callable[..., Result]:
    """What the server says to a prompt, in text mode."""

    def ask(parts: Sequence[Part], **attrs: Any) -> Result:
        async def scenario(call: Call) -> Result:
            return await call("generate", *parts, **{"max_tokens": 20, **attrs})

        found: Result = on_server(scenario, tokenizer="server")
        return found

    return ask


@pytest.fixture
def local(engines: Any) -> Callable[..., Result]:
    """What the embedded engine says."""

    def ask(parts: Sequence[Part], **attrs: Any) -> Result:
        async def scenario(call: Call) -> Result:
            return await call("decode", None, *parts, **{"max_tokens": 20, **attrs})

        found: Result = engines.run("local:smollm2-135m", EMBEDDED, scenario)
        return found

    return ask


@pytest.mark.parametrize("parts", [QUESTION, CHAT, BEGUN, ("A database is a",)])
def test_a_greedy_answer_is_the_embedded_engines(
    asked: Ask, local: Ask, parts: tuple[Part, ...]
) -> None:
    theirs, ours = asked(parts), local(parts)
    assert theirs.outputs[0] == ours.outputs[0]
    assert theirs.finish_reason == ours.finish_reason
    prompts = [one.usage.prefill_tokens + one.usage.cached_tokens for one in (theirs, ours)]
    assert prompts[0] == prompts[1]


def test_a_server_that_speaks_openais_api_is_one(local: Ask, vllm: Any) -> None:
    url = vllm.url.replace("vllm://", "openai://")
    request = Request(uuid4().hex, "generate", QUESTION, {"max_tokens": 20})
    (theirs,) = outcomes(url, request)
    assert isinstance(theirs, Result), theirs
    assert theirs.outputs[0] == local(QUESTION).outputs[0]
    responses = Request(uuid4().hex, "generate", QUESTION, {"max_tokens": 20})
    (told,) = outcomes(url, responses, api="responses")
    assert isinstance(told, Result), told
    assert told.outputs[0] == local(QUESTION).outputs[0]


def test_a_stream_says_the_same_piece_by_piece(local: Ask, vllm: Any) -> None:
    pieces: list[str] = []
    request = Request(uuid4().hex, "generate", QUESTION, {"max_tokens": 20}, emit=pieces.append)
    (outcome,) = outcomes(vllm.url, request, tokenizer="server")
    assert isinstance(outcome, Result), outcome
    assert len(pieces) > 3
    assert "".join(pieces) == outcome.outputs[0] == local(QUESTION).outputs[0]
    assert outcome.usage.decode_tokens == 20


def test_answers_keep_to_their_form(asked: Ask) -> None:
    schema = {"type": "array", "items": {"type": "integer", "maximum": 99}, "maxItems": 3}
    numbers = json.loads(asked(CHAT, schema=schema, max_tokens=40).outputs[0])
    assert all(isinstance(number, int) for number in numbers)
    assert asked(CHAT, choices=["red", "blue"]).outputs[0] in ("red", "blue")
    assert re.fullmatch("[a-z]{3,9}", asked(CHAT, regex="[a-z]{3,9}").outputs[0])


def test_sampling_fields_are_taken(asked: Ask) -> None:
    attrs = {"temperature": 0.8, "top_k": 5, "top_p": 0.9, "min_p": 0.01, "seed": 3}
    more = {"repetition_penalty": 1.1, "presence_penalty": 0.1, "logit_bias": {5: -100}}
    first = asked(QUESTION, n=2, min_tokens=3, **attrs, **more)
    again = asked(QUESTION, n=2, min_tokens=3, **attrs, **more)
    assert first.outputs == again.outputs
    assert first.outputs[0][0] != first.outputs[0][1]
    stopped = asked(QUESTION, stop=["database"])
    assert stopped.samples[0].stop == "database"
    assert "database" not in stopped.outputs[0]


def test_log_probabilities_are_the_embedded_engines(asked: Ask, local: Ask) -> None:
    theirs = asked(QUESTION, logprobs=2, max_tokens=4).samples[0].logprobs
    ours = local(QUESTION, logprobs=2, max_tokens=4).samples[0].logprobs
    assert [token.raw for token in theirs] == [token.raw for token in ours]
    for one, other in zip(theirs, ours, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-3)


def test_scores_of_choices_are_the_embedded_engines(vllm: Any) -> None:
    async def scored(url: str, **options: Any) -> Any:
        engine = create(EngineSpec("llm", url, options))
        try:
            await engine.start()
            prefill = Request(uuid4().hex, "prefill", (None, *BEGUN))
            (before,) = await engine.execute([prefill])
            assert isinstance(before, Result), before
            inputs = (before.outputs[0], [" data", " the best", " animals"])
            (found,) = await engine.execute([Request(uuid4().hex, "select", inputs)])
            assert isinstance(found, Result), found
            return found.outputs[:2]
        finally:
            await engine.close()

    theirs = asyncio.run(scored(vllm.url, tokenizer="server"))
    ours = asyncio.run(scored("local:smollm2-135m", dtype="float32", threads=1, kv_tokens=2048))
    assert theirs[0] == ours[0]
    assert theirs[1] == pytest.approx(ours[1], abs=1e-3)


def test_a_priority_that_the_server_does_not_know_is_left_out(vllm: Any) -> None:
    request = Request(uuid4().hex, "generate", QUESTION, {"max_tokens": 5}, priority=7)
    (outcome,) = outcomes(vllm.url, request, tokenizer="server")
    assert isinstance(outcome, Result), outcome


def test_tools_are_taken_or_refused_in_the_servers_words(vllm: Any) -> None:
    tool = {"name": "weather", "description": "The weather now", "parameters": CITY}
    attrs = {"tools": [tool], "tool_choice": "weather", "max_tokens": 60}
    (outcome,) = outcomes(
        vllm.url, Request(uuid4().hex, "generate", CHAT, attrs), tokenizer="server"
    )
    if isinstance(outcome, RequestRejected):
        assert "tool" in str(outcome)
        return
    assert isinstance(outcome, Result), outcome
    (call,) = outcome.samples[0].tool_calls
    assert call.name == "weather"
    assert outcome.finish_reason in ("tool_calls", "length")


def test_what_is_wrong_is_a_typed_error(vllm: Any) -> None:
    long = Request(uuid4().hex, "generate", (Turn("user"), "word " * 9000, Turn("assistant")))
    salted = Request(uuid4().hex, "generate", QUESTION, {"max_tokens": 3, "cache_salt": "t1"})
    found = outcomes(vllm.url, long, salted, tokenizer="server")
    assert isinstance(found[0], RequestTooLong), found[0]
    assert isinstance(found[1], Result), found[1]


def test_an_abort_ends_the_request(vllm: Any) -> None:
    async def main() -> Outcome:
        engine = create(EngineSpec("llm", vllm.url, {"tokenizer": "server"}))
        try:
            await engine.start()
            first = asyncio.Event()
            attrs = {"max_tokens": 1500, "ignore_eos": True}
            request = Request(
                uuid4().hex, "generate", QUESTION, attrs, emit=lambda piece: first.set()
            )
            running = asyncio.create_task(engine.execute([request]))
            await first.wait()
            engine.abort(request.id)
            (outcome,) = await running
            while (await engine.load()).num_running:  # type: ignore[attr-defined]
                await asyncio.sleep(0.05)
            return outcome
        finally:
            await engine.close()

    assert isinstance(asyncio.run(asyncio.wait_for(main(), 60)), EngineError)
