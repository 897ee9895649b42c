"""The remote engine in text mode against a real server: teola's own, with the default model.

The embedded engine on the same weights and the official client are what its answers are held to.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import uuid4

import pytest
from openai import OpenAI

from backends.base import Outcome, Part, Request, Result, Turn
from backends.errors import EngineError, EngineUnavailable, RequestTooLong
from backends.registry import EngineSpec, create
from backends.remote.chat_llm import ChatLLM
from backends.remote.client import Client
from backends.remote.llm_options import RemoteLLMOptions
from backends.remote.url import parse_url
from backends.tool_calls.turn import read_turn

pytestmark = [pytest.mark.server, pytest.mark.model]

MODEL = "smollm2-135m"
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


@pytest.fixture(scope="module")
def server(serve: Callable[..., Any]) -> Iterator[Any]:
    with serve(f"local:{MODEL}", "--option", "kv_tokens=4096") as made:
        yield made


def remote(url: str, **options: Any) -> ChatLLM:
    parsed = parse_url(url)
    settings = RemoteLLMOptions.model_validate(options)
    return ChatLLM(parsed, settings, Client(parsed.endpoints[0], settings))


def answered(engine: Any, *requests: Request) -> list[Outcome]:
    async def main() -> list[Outcome]:
        try:
            await engine.start()
            found: list[Outcome] = await engine.execute(requests)
            return found
        finally:
            await engine.close()

    return asyncio.run(asyncio.wait_for(main(), 120))


def asked(engine: Any, parts: Sequence[Part], op: str = "decode", **attrs: Any) -> Result:
    inputs = tuple(parts) if op == "generate" else (None, *parts)
    (outcome,) = answered(engine, Request(uuid4().hex, op, inputs, {"max_tokens": 24, **attrs}))
    assert isinstance(outcome, Result), outcome
    return outcome


def local_engine() -> Any:
    return create(EngineSpec("llm", f"local:{MODEL}", {"kv_tokens": 2048}))


def local(parts: Sequence[Part], **attrs: Any) -> Result:
    return asked(local_engine(), parts, **attrs)


def at(server: Any, scheme: str = "openai", model: str = MODEL) -> str:
    return f"{scheme}://{server.url.removeprefix('http://')}/{model}".rstrip("/")


@pytest.mark.parametrize("parts", [QUESTION, CHAT])
@pytest.mark.parametrize("scheme", ["openai", "teola"])
def test_a_greedy_answer_is_the_embedded_engines(
    server: Any, scheme: str, parts: tuple[Part, ...]
) -> None:
    theirs = asked(remote(at(server, scheme)), parts, "generate")
    ours = local(parts)
    assert theirs.outputs[0] == ours.outputs[0]
    assert theirs.finish_reason == ours.finish_reason
    # One less where the answer is cut: its last token is not part of what the engine computed.
    assert theirs.usage.decode_tokens == ours.usage.decode_tokens


def test_plain_completions_go_on_from_a_text(server: Any) -> None:
    parts = ("A database is", " a")
    ours = local(parts).outputs[0]
    for engine in (remote(at(server), api="completions"), remote(at(server, "teola"))):
        assert asked(engine, parts, "generate").outputs[0] == ours


def test_a_begun_answer_goes_on_as_the_embedded_engines_does(server: Any) -> None:
    parts = (*QUESTION, "A database stores")
    theirs = asked(remote(at(server, "teola")), parts, "generate").outputs[0]
    assert theirs == local(parts).outputs[0]


def test_a_second_turn_over_contexts_is_the_embedded_engines(server: Any) -> None:
    more = (Turn("user"), "And a table?", Turn("assistant"))

    async def both_turns(engine: Any) -> list[str]:
        await engine.start()
        try:
            first = await _one(engine, None, *QUESTION)
            second = await _one(engine, first[1], *more)
            return [first[0], second[0]]
        finally:
            await engine.close()

    ours = create(EngineSpec("llm", f"local:{MODEL}", {"kv_tokens": 2048}))
    theirs = asyncio.run(both_turns(remote(at(server))))
    assert theirs == asyncio.run(both_turns(ours))


async def _one(engine: Any, context: Any, *parts: Part) -> Any:
    request = Request(uuid4().hex, "decode", (context, *parts), {"max_tokens": 20, "stop": ["."]})
    (outcome,) = await engine.execute([request])
    assert isinstance(outcome, Result), outcome
    return outcome.outputs


def test_a_stream_says_the_same_piece_by_piece(server: Any) -> None:
    pieces: list[str] = []
    request = Request(uuid4().hex, "generate", QUESTION, {"max_tokens": 24}, emit=pieces.append)
    (outcome,) = answered(remote(at(server)), request)
    assert isinstance(outcome, Result), outcome
    assert len(pieces) > 3
    assert "".join(pieces) == outcome.outputs[0] == local(QUESTION).outputs[0]


@pytest.mark.parametrize("scheme", ["openai", "teola"])
def test_structured_output_comes_in_its_form(server: Any, scheme: str) -> None:
    url = at(server, scheme)
    schema = {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 3}
    listed = asked(remote(url), CHAT, "generate", schema=schema, max_tokens=60).outputs[0]
    assert isinstance(json.loads(listed), list)
    choice = asked(remote(url), CHAT, "generate", choices=["red", "blue"]).outputs[0]
    assert choice in ("red", "blue")


@pytest.mark.parametrize("scheme", ["openai", "teola"])
def test_tools_are_offered_and_answered_as_at_the_embedded_engine(server: Any, scheme: str) -> None:
    parameters = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
    }
    attrs = {"tools": [{"name": "weather", "parameters": parameters}], "tool_choice": "required"}
    attrs |= {"parallel_tool_calls": False, "max_tokens": 60}
    parts = (Turn("user"), "What is the weather?", Turn("assistant"))
    said = [
        asked(engine, parts, **attrs) for engine in (remote(at(server, scheme)), local_engine())
    ]
    theirs, ours = (result.samples[0].tool_calls for result in said)
    assert [(c.name, c.arguments) for c in theirs] == [(c.name, c.arguments) for c in ours]
    assert len(theirs) == 1

    more = (*parts, said[0].outputs[0], Turn("tool"), "It rains.", Turn("assistant"))
    attrs |= {"tool_choice": "none", "max_tokens": 12}
    answers = [
        asked(engine, more, **attrs) for engine in (remote(at(server, scheme)), local_engine())
    ]
    texts = [read_turn(answer.outputs[0]) for answer in answers]
    assert texts[0] is not None
    assert texts[0] == texts[1]


def test_forms_of_our_own_server_are_the_embedded_engines(server: Any) -> None:
    for form in ({"regex": "[a-z]{3,9}"}, {"choices": ["red", "blue"]}):
        theirs = asked(remote(at(server, "teola")), CHAT, "generate", **form)
        assert theirs.outputs[0] == local(CHAT, **form).outputs[0]


def test_seeded_samples_are_the_embedded_engines(server: Any) -> None:
    attrs = {"n": 2, "seed": 11, "temperature": 0.8, "max_tokens": 10}
    ours = local(QUESTION, **attrs).outputs[0]
    assert asked(remote(at(server, "teola")), QUESTION, "generate", **attrs).outputs[0] == ours
    assert asked(remote(at(server)), QUESTION, "generate", **attrs).outputs[0] == ours


def test_log_probabilities_are_the_embedded_engines(server: Any) -> None:
    theirs = asked(remote(at(server)), QUESTION, "generate", logprobs=2, max_tokens=5)
    ours = local(QUESTION, logprobs=2, max_tokens=5)
    found = theirs.samples[0].logprobs
    wanted = [token for token in ours.samples[0].logprobs if token.raw]
    assert [token.raw for token in found] == [token.raw for token in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=0.05)
        assert [token.raw for token in one.top] == [token.raw for token in other.top]


def test_the_official_client_gets_the_same_answer(server: Any) -> None:
    messages: Any = [{"role": "user", "content": "What is a database?"}]
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        oracle = client.chat.completions.create(
            model=MODEL, messages=messages, max_tokens=24, temperature=0
        )
        text = client.completions.create(
            model=MODEL, prompt="A database is a", max_tokens=24, temperature=0
        )
    found = asked(remote(at(server)), QUESTION, "generate")
    assert found.outputs[0] == oracle.choices[0].message.content
    assert oracle.usage is not None
    assert found.usage.decode_tokens == oracle.usage.completion_tokens
    assert found.usage.prefill_tokens + found.usage.cached_tokens == oracle.usage.prompt_tokens
    plain = asked(remote(at(server), api="completions"), ("A database is a",), "generate")
    assert plain.outputs[0] == text.choices[0].text


def test_the_prefix_that_the_server_kept_is_counted(server: Any) -> None:
    parts = (Turn("user"), "Repeat after me. " * 20, Turn("assistant"))
    cold = asked(remote(at(server, "teola")), parts, "generate").usage
    warm = asked(remote(at(server, "teola")), parts, "generate").usage
    assert warm.cached_tokens > cold.cached_tokens
    assert warm.cached_tokens + warm.prefill_tokens == cold.cached_tokens + cold.prefill_tokens


def test_a_model_without_a_name_is_the_servers(server: Any) -> None:
    engine = remote(at(server, model=""))
    assert asked(engine, QUESTION, "generate").outputs[0] == local(QUESTION).outputs[0]
    assert engine.info.max_context_tokens == 4096 + 1  # the last token has no KV


def test_a_prompt_that_is_too_long_and_a_wrong_model_are_typed_errors(server: Any) -> None:
    long = Request(uuid4().hex, "generate", (Turn("user"), "word " * 9000, Turn("assistant")))
    (outcome,) = answered(remote(at(server)), long)
    assert isinstance(outcome, RequestTooLong), outcome
    with pytest.raises(EngineUnavailable, match=f"it has {MODEL}"):
        answered(remote(at(server, "teola", "other")))


def test_scores_of_choices_are_the_embedded_engines(server: Any) -> None:
    async def scored(engine: Any) -> Any:
        try:
            await engine.start()
            prefill = Request(uuid4().hex, "prefill", (None, *QUESTION, "A database is"))
            (before,) = await engine.execute([prefill])
            assert isinstance(before, Result), before
            inputs = (before.outputs[0], [" a", " the best", "n animal"])
            (found,) = await engine.execute([Request(uuid4().hex, "select", inputs)])
            assert isinstance(found, Result), found
            return found.outputs
        finally:
            await engine.close()

    spec = EngineSpec("llm", at(server, "teola"), {"tokenizer": "server"})
    theirs = asyncio.run(scored(create(spec)))
    ours = asyncio.run(scored(create(EngineSpec("llm", f"local:{MODEL}", {"kv_tokens": 2048}))))
    assert theirs[0] == ours[0]
    assert theirs[1] == pytest.approx(ours[1], abs=0.02)
    assert theirs[2].num_tokens == ours[2].num_tokens


def test_an_abort_ends_the_request_at_the_server(server: Any) -> None:
    async def main() -> Outcome:
        engine = remote(at(server))
        await engine.start()
        first = asyncio.Event()
        attrs = {"max_tokens": 2000, "temperature": 1.0, "seed": 1}
        request = Request(uuid4().hex, "generate", QUESTION, attrs, emit=lambda piece: first.set())
        running = asyncio.create_task(engine.execute([request]))
        await first.wait()
        engine.abort(request.id)
        (outcome,) = await running
        while server.metric("teola_num_requests_running") > 0:
            await asyncio.sleep(0.01)
        await engine.close()
        return outcome

    before = server.metric("teola_requests_aborted_total")
    outcome = asyncio.run(asyncio.wait_for(main(), 60))
    assert isinstance(outcome, EngineError)
    assert server.metric("teola_requests_aborted_total") == before + 1
