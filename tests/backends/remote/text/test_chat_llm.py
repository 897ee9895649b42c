"""The engine itself: contexts kept by the client, aborts, cancelling, what it says of itself."""

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any
from uuid import uuid4

import pytest
from scripted_server import USER, Events, Hang, Headed, Script, Status, engine_at, talk

from backends.base import Capability, Request, Result, Turn
from backends.errors import (
    ConfigError,
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    RequestRejected,
)
from backends.rate_limits import RateLimits, RateReport, ReportsRates
from backends.remote.chat_llm import ChatLLM
from backends.remote.client import Client
from backends.remote.llm_options import RemoteLLMOptions
from backends.remote.text_context import TextContext
from backends.remote.url import parse_url

CHAT = "/v1/chat/completions"


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 60))


def answer(text: str = "Hello.") -> dict[str, Any]:
    choice = {"index": 0, "message": {"content": text}, "finish_reason": "stop"}
    return {"choices": [choice], "usage": {"prompt_tokens": 12, "completion_tokens": 3}}


async def one(engine: ChatLLM, op: str, *inputs: Any, **attrs: Any) -> Result:
    (outcome,) = await engine.execute([Request(uuid4().hex, op, inputs, attrs)])
    assert isinstance(outcome, Result), outcome
    return outcome


async def refused(engine: ChatLLM, op: str, *inputs: Any, **attrs: Any) -> str:
    (outcome,) = await engine.execute([Request(uuid4().hex, op, inputs, attrs)])
    assert isinstance(outcome, RequestRejected), outcome
    return str(outcome)


def test_a_conversation_over_contexts_sends_all_its_turns_with_each_answer() -> None:
    async def main() -> None:
        script = Script({CHAT: [answer("Hello."), answer("Bern.")]})
        async with engine_at(script) as engine:
            first = await one(engine, "prefill", None, Turn("user"), "Hi", Turn("assistant"))
            assert script.posts() == []
            said = await one(engine, "decode", first.outputs[0])
            text, context = said.outputs
            assert text == "Hello."
            assert context.num_tokens == 15
            more = (Turn("user"), "Where ", "am I?", Turn("assistant"))
            longer = await one(engine, "prefill", context, *more)
            assert (await one(engine, "decode", longer.outputs[0])).outputs[0] == "Bern."
            again = await one(engine, "decode", context, *more)
            assert again.outputs[0] == "Bern."
        assert script.posts()[1]["messages"] == [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "Where am I?"},
        ]
        assert script.posts()[2]["messages"] == script.posts()[1]["messages"]

    run(main())


def test_samples_of_a_decode_have_a_context_each() -> None:
    async def main() -> None:
        both = answer("a")
        both["choices"] = [
            {"index": index, "message": {"content": text}, "finish_reason": "stop"}
            for index, text in enumerate(["a", "b"])
        ]
        async with engine_at(Script({CHAT: both})) as engine:
            result = await one(engine, "decode", None, *USER, n=2, temperature=1.0)
            texts, contexts = result.outputs
            assert texts == ["a", "b"]
            assert [context.parts[-1] for context in contexts] == ["a", "b"]

    run(main())


def test_a_context_keeps_its_adapter_and_salt_and_takes_no_other() -> None:
    async def main() -> None:
        script = Script({"/v1/models": {"data": [{"id": "m"}]}, CHAT: answer()})
        async with engine_at(script, "vllm") as engine:
            marked = await one(engine, "prefill", None, *USER, adapter="sql", cache_salt="t")
            await one(engine, "decode", marked.outputs[0])
            assert script.posts()[-1]["model"] == "sql"
            assert script.posts()[-1]["cache_salt"] == "t"
            assert "cache_salt" in await refused(
                engine, "decode", marked.outputs[0], cache_salt="other"
            )
            assert "adapter" in await refused(engine, "prefill", marked.outputs[0], adapter="x")

    run(main())


def test_contexts_of_other_engines_and_unknown_ops_are_refused() -> None:
    async def main() -> None:
        async with engine_at(Script({})) as engine, engine_at(Script({})) as other:
            theirs = (await one(other, "prefill", None, *USER)).outputs[0]
            assert "another engine's context" in await refused(engine, "decode", theirs)
            assert "not 'text'" in await refused(engine, "decode", "text", *USER)
            assert "has no op 'embed'" in await refused(engine, "embed", "text")
            own = (await one(engine, "prefill", None, *USER)).outputs[0]
            assert "select needs log-probabilities" in await refused(
                engine, "select", own, ["a", "b"]
            )
            assert "'ahead'" in await refused(engine, "prefill", None, *USER, ahead=True)
            assert "no attribute 'colour'" in await refused(engine, "generate", *USER, colour="red")

    run(main())


def test_engines_that_share_contexts_go_on_from_each_others() -> None:
    async def main() -> None:
        other_script = Script({CHAT: answer("Bern.")})
        async with engine_at(Script({})) as engine, engine_at(other_script) as other:
            owner = object()
            engine.share_contexts(owner)
            other.share_contexts(owner)
            context = (await one(engine, "prefill", None, *USER)).outputs[0]
            assert (await one(other, "decode", context)).outputs[0] == "Bern."

    run(main())


def test_what_answers_say_of_rate_limits_is_told() -> None:
    async def main() -> None:
        limited = Headed(answer(), {"x-ratelimit-remaining-requests": "59"})
        reports: list[RateReport] = []
        async with engine_at(Script({CHAT: limited})) as engine:
            assert isinstance(engine, ReportsRates)
            engine.watch_rates(reports.append)
            await one(engine, "generate", *USER)
        assert [report.requests.remaining for report in reports] == [59]

    run(main())


def test_no_requests_have_no_outcomes() -> None:
    async def main() -> None:
        async with engine_at(Script({})) as engine:
            assert await engine.execute([]) == []

    run(main())


def test_one_bad_request_leaves_its_neighbours_alone() -> None:
    async def main() -> None:
        async with engine_at(Script({CHAT: answer()})) as engine:
            good = Request(uuid4().hex, "generate", USER)
            bad = Request(uuid4().hex, "generate", USER, {"top_k": 3})
            outcomes = await engine.execute([bad, good])
            assert isinstance(outcomes[0], RequestRejected)
            assert isinstance(outcomes[1], Result)

    run(main())


@pytest.mark.parametrize("streams", [False, True])
def test_an_abort_closes_the_connection_and_leaves_no_task(streams: bool) -> None:
    async def main() -> None:
        begun = [{"choices": [{"index": 0, "delta": {"content": "He"}, "finish_reason": None}]}]
        hanging = Events(begun, ends=False) if streams else Hang()
        script = Script({CHAT: hanging})
        async with engine_at(script) as engine:
            first_piece = asyncio.Event()
            request = Request(
                uuid4().hex,
                "generate",
                USER,
                emit=(lambda piece: first_piece.set()) if streams else None,
            )
            running = asyncio.create_task(engine.execute([request]))
            await script.arrived.wait()
            if streams:
                await first_piece.wait()
            engine.abort("unknown")
            engine.abort(request.id)
            (outcome,) = await running
            assert type(outcome) is EngineError
            assert "aborted" in str(outcome)
            await script.gone.wait()

    run(main())


def test_a_cancelled_execute_closes_its_connections() -> None:
    async def main() -> None:
        script = Script({CHAT: Hang()})
        async with engine_at(script) as engine:
            batch = [Request(uuid4().hex, "generate", USER) for _ in range(2)]
            running = asyncio.ensure_future(engine.execute(batch))
            await script.arrived.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            await script.gone.wait()

    run(main())


def test_close_ends_what_runs_and_is_idempotent() -> None:
    async def main() -> None:
        script = Script({CHAT: Hang()})
        async with engine_at(script) as engine:
            running = asyncio.create_task(engine.execute([Request(uuid4().hex, "generate", USER)]))
            await script.arrived.wait()
            await engine.close()
            (outcome,) = await running
            assert isinstance(outcome, EngineError)
            with pytest.raises(EngineUnavailable, match="not started"):
                await engine.execute([Request(uuid4().hex, "generate", USER)])
            await engine.close()
        gc.collect()

    run(main())


def test_too_many_requests_are_an_overload_that_says_when_to_come_back() -> None:
    found = talk({CHAT: Status(429, {"error": {"message": "Rate limit reached"}})})
    assert isinstance(found.error, EngineOverloaded)


def test_a_stream_that_ends_early_is_an_error_after_its_pieces() -> None:
    begun = {"choices": [{"index": 0, "delta": {"content": "He"}, "finish_reason": None}]}
    found = talk({CHAT: Events([begun])}, streams=True)
    assert found.pieces == ["He"]
    assert isinstance(found.error, EngineError)
    assert "no finish_reason" in str(found.error)


def test_a_callback_that_raises_is_that_requests_outcome() -> None:
    async def main() -> None:
        begun = {"choices": [{"index": 0, "delta": {"content": "He"}, "finish_reason": "stop"}]}
        async with engine_at(Script({CHAT: Events([begun])})) as engine:

            def broken(piece: str) -> None:
                raise ValueError("full")

            request = Request(uuid4().hex, "generate", USER, emit=broken)
            (outcome,) = await engine.execute([request])
            assert isinstance(outcome, ValueError)

    run(main())


def made(url: str, **options: Any) -> ChatLLM:
    parsed = parse_url(url)
    settings = RemoteLLMOptions.model_validate(options)
    return ChatLLM(parsed, settings, Client(parsed.endpoints[0], settings))


TEXT: frozenset[Capability] = frozenset(
    ("generate", "fork", "decode_parts", "stream", "abort", "logprobs")
)


@pytest.mark.parametrize(
    ("url", "options", "more"),
    [
        ("openai:gpt-5", {}, {"structured", "tools", "cached_tokens"}),
        ("openai://localhost:1/m", {}, {"structured", "tools"}),
        ("openai:gpt-5", {"api": "completions"}, {"cached_tokens"}),
        ("ollama://localhost/m", {}, {"structured", "tools", "seed"}),
        ("vllm://localhost/m", {}, {"structured", "tools", "seed", "adapters", "priorities"}),
        ("vllm://localhost/m", {"order": "class"}, {"structured", "tools", "seed", "adapters"}),
        ("sglang://localhost/m", {}, {"structured", "tools", "seed", "adapters", "priorities"}),
        (
            "teola://localhost/m",
            {},
            {"structured", "tools", "seed", "adapters", "cached_tokens"},
        ),
        ("openai://localhost:1/m", {"repeatable": True}, {"structured", "tools", "repeatable"}),
    ],
)
def test_an_engine_says_what_its_server_can_do(
    url: str, options: dict[str, Any], more: set[str]
) -> None:
    assert made(url, **options).info.capabilities == TEXT | more


def test_the_servers_own_words_refine_what_the_engine_says_of_itself() -> None:
    async def main() -> None:
        models = {"/v1/models": {"data": [{"id": "m", "max_model_len": 4096}]}}
        answers = {**models, "/server_info": {"enable_cache_report": True}}
        async with engine_at(Script(answers), "sglang") as engine:
            assert engine.info.max_context_tokens == 4096
            assert "cached_tokens" in engine.info.capabilities
        async with engine_at(Script(models), "sglang", context_len=100) as engine:
            assert engine.info.max_context_tokens == 100
            assert "cached_tokens" not in engine.info.capabilities

    run(main())


def test_options_reach_the_scheduler_and_wrong_ones_are_refused() -> None:
    info = made("openai:gpt-5", concurrency=7, requests_per_minute=500).info
    assert info.num_slots == 7
    assert info.rate_limits == RateLimits(requests_per_minute=500)
    with pytest.raises(ConfigError, match="api is an option of openai:// engines only"):
        made("vllm://localhost/m", api="responses")


def test_a_context_is_text_and_its_release_gives_up_nothing() -> None:
    async def main() -> None:
        async with engine_at(Script({})) as engine:
            context = (await one(engine, "prefill", None, *USER)).outputs[0]
            assert isinstance(context, TextContext)
            assert context.num_tokens == 4 + 5 + 4  # two turns, and 17 characters
            context.release()
            context.release()

    run(main())
