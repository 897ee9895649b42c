"""Two processes of `teola serve-engine` behind one engine: equal answers, and one of them dies."""

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backends.base import Engine, Outcome, Request, Result, Turn
from backends.registry import EngineSpec, create
from backends.remote.routing.routed_engine import RoutedEngine

pytestmark = pytest.mark.server

OPTIONS = ("--option", "dtype=float32", "--option", "kernels=torch", "--option", "kv_tokens=8192")
ATTRS = {"max_tokens": 8, "ignore_eos": True}

RETURNS_IN_S = 90.0  # the breaker's pause grew while the server was down


def prompts(count: int) -> list[tuple[Any, ...]]:
    head = "Three apps share this head. " * 8
    return [(Turn("user"), f"{head}{i % 3} {i}", Turn("assistant")) for i in range(count)]


async def ask(engine: Engine, prompt: Sequence[Any]) -> Outcome:
    (outcome,) = await engine.execute([Request(uuid4().hex, "generate", tuple(prompt), ATTRS)])
    return outcome


def texts(outcomes: Sequence[Outcome]) -> list[Any]:
    return [o.outputs[0] if isinstance(o, Result) else o for o in outcomes]


async def ask_in_turn(engine: Engine, wanted: Sequence[Any], at_once: int = 4) -> list[Outcome]:
    slots = asyncio.Semaphore(at_once)

    async def one(prompt: Any) -> Outcome:
        async with slots:
            return await ask(engine, prompt)

    return await asyncio.gather(*(one(prompt) for prompt in wanted))


def local_texts(folder: Path, wanted: Sequence[Any]) -> list[Any]:
    settings = {"dtype": "float32", "kernels": "torch", "kv_tokens": 8192}

    async def main() -> list[Any]:
        engine = create(EngineSpec("llm", f"local:{folder}", settings))
        await engine.start()
        found = []
        for prompt in wanted:  # whose "generate" is a decode without a context
            request = Request(uuid4().hex, "decode", (None, *prompt), ATTRS)
            found.append((await engine.execute([request]))[0])
        await engine.close()
        return texts(found)

    return asyncio.run(main())


def test_two_servers_answer_as_the_embedded_engine_also_when_one_is_killed_and_restarted(
    serve: Callable[..., Any], tiny_folder: Callable[..., Path]
) -> None:
    folder = tiny_folder()
    wanted = prompts(24)
    expected = local_texts(folder, wanted)

    async def run(first: Any, second: Any, restart: Callable[[], Any]) -> None:
        addresses = ",".join(server.url.removeprefix("http://") for server in (first, second))
        engine = create(EngineSpec("llm", f"teola://{addresses}"))
        assert isinstance(engine, RoutedEngine)
        try:
            await work(engine, first, second, restart)
        finally:
            await engine.close()

    async def work(
        engine: RoutedEngine, first: Any, second: Any, restart: Callable[[], Any]
    ) -> None:
        await engine.start()
        assert "token_ids" in engine.info.capabilities
        both = await ask_in_turn(engine, wanted)
        assert texts(both) == expected
        assert {o.endpoint for o in both if isinstance(o, Result)} == {first.url, second.url}

        asking = asyncio.create_task(ask_in_turn(engine, wanted * 2))
        await asyncio.sleep(0.3)
        second.process.send_signal(signal.SIGKILL)
        assert texts(await asking) == expected * 2  # nothing is lost

        with restart() as again:
            assert again.url == second.url
            seen: set[str] = set()
            until_s = time.monotonic() + RETURNS_IN_S
            while second.url not in seen and time.monotonic() < until_s:
                await asyncio.sleep(0.5)
                more = await ask_in_turn(engine, wanted, at_once=12)
                assert texts(more) == expected
                seen |= {o.endpoint for o in more if isinstance(o, Result)}
            assert second.url in seen

    words = (f"local:{folder}", *OPTIONS)
    with serve(*words) as first, serve(*words) as second:
        port = second.url.rpartition(":")[2]
        running = run(first, second, lambda: serve(*words, "--port", port))
        asyncio.run(asyncio.wait_for(running, 180))
