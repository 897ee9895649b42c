"""An LLM engine in text mode at a server that fails: a typed outcome, or an answer after all.

Nothing hangs, and no task or socket stays.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import uuid4

import pytest
from fault_server import (
    CLOSE,
    RESET,
    Answer,
    FaultServer,
    as_bytes,
    as_json,
    broken,
    dripping,
    events,
    failing,
    hung,
    json_lines,
    nothing_left,
    overloaded,
    refusing_port,
    truncated,
)
from scripted_server import USER

from backends.base import Outcome, Request, Result
from backends.errors import EngineError, EngineOverloaded, EngineUnavailable, RequestRejected
from backends.remote.chat_llm import ChatLLM
from backends.remote.client import Client
from backends.remote.llm_options import RemoteLLMOptions
from backends.remote.retry import Retry
from backends.remote.url import parse_url

READ_S = 0.05  # a reset throws away what was not read yet
MODELS = as_json({"data": [{"id": "m"}]})
WHOLE = as_json(
    {
        "choices": [{"index": 0, "message": {"content": "Hipp."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
)


def piece(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


def run(main: Coroutine[Any, Any, None]) -> None:
    async def watched() -> None:
        async with nothing_left():
            await main

    asyncio.run(asyncio.wait_for(watched(), 60))


def engine_of(url: str, **options: Any) -> ChatLLM:
    parsed = parse_url(url)
    settings = RemoteLLMOptions.model_validate({"retries": 1, "read_timeout_s": 30.0, **options})
    retry = Retry(settings.retries, draw=lambda: 0.0)
    return ChatLLM(parsed, settings, Client(parsed.endpoints[0], settings, retry=retry))


async def ask(engine: ChatLLM, emit: Callable[[str], None] | None = None) -> Outcome:
    (outcome,) = await engine.execute([Request(uuid4().hex, "generate", USER, emit=emit)])
    return outcome


async def asked(server: FaultServer, streams: bool, **options: Any) -> tuple[Outcome, list[str]]:
    engine = engine_of(server.url(), **options)
    pieces: list[str] = []
    try:
        await engine.start()
        return await ask(engine, pieces.append if streams else None), pieces
    finally:
        await engine.close()


FAILURES: list[tuple[Answer, type[EngineError], str]] = [
    (broken, EngineUnavailable, "broke"),
    (hung, EngineUnavailable, "read_timeout_s"),
    (failing(500, "CUDA error"), EngineError, "CUDA error"),
    (failing(503, "starting"), EngineOverloaded, "starting"),
    (failing(400, "bad field"), RequestRejected, "bad field"),
    (failing(401, "no key"), EngineUnavailable, "OPENAI_API_KEY"),
    (as_bytes(b"<html>", content_type="text/html"), EngineError, "text/html"),
    (as_bytes(b'{"choices": ['), EngineError, "not JSON"),
]


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(("answer", "kind", "words"), FAILURES)
def test_every_failure_is_a_typed_outcome_that_names_the_server(
    answer: Answer, kind: type[EngineError], words: str, streams: bool
) -> None:
    async def main() -> None:
        async with FaultServer(MODELS, answer) as server:
            read_timeout_s = 1.0 if answer is hung else 30.0
            outcome, pieces = await asked(server, streams, read_timeout_s=read_timeout_s)
            assert isinstance(outcome, kind), outcome
            assert server.address in str(outcome)
            if not streams:
                assert words in str(outcome)
            assert pieces == []

    run(main())


def test_nobody_listening_is_told_at_the_start_and_later() -> None:
    async def main() -> None:
        engine = engine_of(f"openai://127.0.0.1:{refusing_port()}/m")
        with pytest.raises(EngineUnavailable, match="no connection"):
            await engine.start()
        await engine.close()

    run(main())


def test_a_server_that_is_killed_and_comes_back_is_used_again_by_the_same_engine() -> None:
    async def main() -> None:
        async with FaultServer(MODELS, WHOLE) as server:
            engine = engine_of(server.url())
            try:
                await engine.start()
                assert isinstance(await ask(engine), Result)
                await server.stop()
                assert isinstance(await ask(engine), EngineUnavailable)
                await server.start()
                assert isinstance(await ask(engine), Result)
            finally:
                await engine.close()

    run(main())


@pytest.mark.parametrize("last", [RESET, CLOSE])
def test_a_stream_that_breaks_after_pieces_is_an_error_and_is_not_asked_again(last: str) -> None:
    async def main() -> None:
        broken_stream = events(piece("D. "), piece("Hi"), READ_S, end=(last,))
        async with FaultServer(MODELS, broken_stream, WHOLE) as server:
            outcome, pieces = await asked(server, streams=True)
            assert isinstance(outcome, EngineError), outcome
            assert pieces == ["D. ", "Hi"]
            assert len([seen for seen in server.seen if seen.method == "POST"]) == 1

    run(main())


def test_a_broken_stream_of_ollama_is_the_same() -> None:
    async def main() -> None:
        lines = json_lines({"message": {"content": "D. "}, "done": False}, READ_S, end=(RESET,))
        tags = as_json({"models": [{"name": "m:latest"}]})
        async with FaultServer(as_json({"version": "1"}), tags, lines) as server:
            engine = engine_of(server.url("ollama"))
            try:
                await engine.start()
                pieces: list[str] = []
                assert isinstance(await ask(engine, pieces.append), EngineUnavailable)
                assert pieces == ["D. "]
            finally:
                await engine.close()

    run(main())


def test_a_silent_stream_ends_by_the_read_timeout() -> None:
    async def main() -> None:
        silent = events(piece("D. "), end=("hang",))
        async with FaultServer(MODELS, silent) as server:
            outcome, pieces = await asked(server, streams=True, read_timeout_s=1.0)
            assert isinstance(outcome, EngineUnavailable)
            assert "read_timeout_s" in str(outcome)
            assert pieces == ["D. "]

    run(main())


def test_an_answer_that_drips_ends_by_the_requests_timeout() -> None:
    async def main() -> None:
        async with FaultServer(MODELS, dripping({"choices": []}, 0.25)) as server:
            outcome, _ = await asked(server, streams=False, timeout_s=1.0)
            assert isinstance(outcome, EngineUnavailable)
            assert "timeout_s" in str(outcome)

    run(main())


def test_half_an_answer_is_no_answer() -> None:
    async def main() -> None:
        async with FaultServer(MODELS, truncated({"choices": []})) as server:
            outcome, _ = await asked(server, streams=False)
            assert isinstance(outcome, EngineUnavailable)

    run(main())


def test_a_full_server_says_when_to_come_back() -> None:
    async def main() -> None:
        async with FaultServer(MODELS, overloaded("7")) as server:
            outcome, _ = await asked(server, streams=False, retries=0)
            assert isinstance(outcome, EngineOverloaded)
            assert outcome.retry_after_s == 7

    run(main())


def test_a_generation_that_the_server_may_have_begun_is_not_asked_for_twice() -> None:
    async def main() -> None:
        async with FaultServer(MODELS, broken, WHOLE) as server:
            outcome, _ = await asked(server, streams=False, retries=2)
            assert isinstance(outcome, EngineUnavailable)
            assert len([seen for seen in server.seen if seen.method == "POST"]) == 1

    run(main())
