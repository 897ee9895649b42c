"""Several endpoints over real HTTP: servers that die, refuse and come back."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from itertools import count
from typing import Any

import pytest
from fault_server import Answer, FaultServer, Seen, as_json, overloaded

from backends.base import Engine, Request, Result, Turn
from backends.errors import ConfigError, EngineOverloaded, EngineUnavailable
from backends.options import read_options
from backends.rate_limits import RateReport
from backends.registry import EngineSpec, create
from backends.remote.chat_llm import ChatLLM
from backends.remote.client import Client
from backends.remote.llm_options import RemoteLLMOptions
from backends.remote.routing.open_routed import open_routed
from backends.remote.routing.routed_engine import RoutedEngine
from backends.remote.url import RemoteURL, parse_url

NAMES = count()


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 60))


def speaking(name: str) -> Callable[[Seen], Answer]:
    """A chat server that answers with its name and the number of messages it got."""

    def answer(seen: Seen) -> Answer:
        if seen.path == "/v1/models":
            return as_json({"data": [{"id": "m"}]})
        text = f"{name} {len(seen.body['messages'])}"
        choice = {"index": 0, "message": {"content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 12, "completion_tokens": 3}
        return as_json({"choices": [choice], "usage": usage})

    return answer


def make_chat(url: RemoteURL, options: Mapping[str, Any]) -> Engine:
    settings = read_options(RemoteLLMOptions, url.text, options)
    return ChatLLM(url, settings, Client(url.endpoints[0], settings))


def chat_over(*servers: FaultServer, **options: Any) -> RoutedEngine:
    addresses = ",".join(server.address for server in servers)
    return open_routed(parse_url(f"openai://{addresses}/m"), options, make_chat)


async def one(engine: Engine, op: str, *inputs: Any, **attrs: Any) -> Any:
    return (await engine.execute([Request(f"{next(NAMES):032x}", op, inputs, attrs)]))[0]


def test_a_conversation_goes_on_at_another_server_when_its_own_dies() -> None:
    async def main() -> None:
        async with FaultServer(speaking("a")) as a, FaultServer(speaking("b")) as b:
            engine = chat_over(a, b)
            await engine.start()
            parts = (Turn("user"), "Hi", Turn("assistant"))
            first = await one(engine, "decode", None, *parts)
            name = first.outputs[0].split()[0]
            again = await one(engine, "decode", first.outputs[1], *parts)
            assert again.outputs[0] == f"{name} 3"
            await (a if name == "a" else b).stop()
            moved = await one(engine, "decode", first.outputs[1], *parts)
            assert moved.outputs[0] == ("b 3" if name == "a" else "a 3")
            await engine.close()

    run(main())


def test_a_server_that_is_down_at_the_start_joins_when_it_is_there() -> None:
    async def main() -> None:
        async with FaultServer(speaking("a")) as a, FaultServer(speaking("b")) as b:
            await b.stop()
            engine = chat_over(a, b, routing="round_robin")
            await engine.start()
            for _ in range(4):
                assert (await one(engine, "generate", "Hi")).outputs[0].startswith("a")
            await b.start()
            engine.endpoints[1].breaker._retry_at_s = 0.0  # its pause is over
            texts = [(await one(engine, "generate", "Hi")).outputs[0] for _ in range(6)]
            assert sum(text.startswith("b") for text in texts) >= 2
            await engine.close()

    run(main())


def test_all_down_names_each_server() -> None:
    async def main() -> None:
        async with FaultServer(speaking("a")) as a, FaultServer(speaking("b")) as b:
            engine = chat_over(a, b)
            await engine.start()
            await a.stop()
            await b.stop()
            outcome = await one(engine, "generate", "Hi")
            assert isinstance(outcome, EngineUnavailable)
            for server in (a, b):
                assert f"http://{server.address}: POST http://{server.address}" in str(outcome)
            await engine.close()

    run(main())


def test_a_429_goes_to_the_other_server_and_all_429_is_told_with_its_time() -> None:
    async def main() -> None:
        def full(seen: Seen) -> Answer:
            return speaking("a")(seen) if seen.path == "/v1/models" else overloaded("7")

        async with FaultServer(full) as a, FaultServer(speaking("b")) as b:
            engine = chat_over(a, b, routing="round_robin")
            await engine.start()
            for _ in range(4):
                assert (await one(engine, "generate", "Hi")).outputs[0] == "b 1"
            assert len([seen for seen in a.seen if seen.method == "POST"]) == 1
            await engine.close()
        async with FaultServer(full) as a, FaultServer(full) as b:
            engine = chat_over(a, b)
            await engine.start()
            outcome = await one(engine, "generate", "Hi")
            assert isinstance(outcome, EngineOverloaded)
            assert outcome.retry_after_s is not None
            assert 6.0 < outcome.retry_after_s <= 7.0
            await engine.close()

    run(main())


def test_what_answers_say_of_rate_limits_adds_up() -> None:
    async def main() -> None:
        def limited(seen: Seen) -> Answer:
            if seen.path == "/v1/models":
                return as_json({"data": [{"id": "m"}]})
            choice = {"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}
            limits = {"x_ratelimit_limit_requests": "60", "x_ratelimit_remaining_requests": "50"}
            return as_json({"choices": [choice]}, **limits)

        told: list[RateReport] = []
        async with FaultServer(limited) as a, FaultServer(limited) as b:
            engine = chat_over(a, b, routing="round_robin")
            engine.watch_rates(told.append)
            await engine.start()
            await one(engine, "generate", "Hi")
            await one(engine, "generate", "Hi")
            assert told[-1].requests.limit == 120
            assert told[-1].requests.remaining == 100
            await engine.close()

    run(main())


def test_embedders_of_several_endpoints_are_one_engine() -> None:
    def embed(seen: Seen) -> Answer:
        if seen.path == "/v1/models":
            return as_json({"data": [{"id": "m"}]})
        data = [{"index": i, "embedding": [3.0, 4.0]} for i, _ in enumerate(seen.body["input"])]
        return as_json({"data": data, "usage": {"prompt_tokens": 9}})

    async def main() -> None:
        async with FaultServer(embed) as a, FaultServer(embed) as b:
            url = f"openai://{a.address},{b.address}/m"
            engine = create(EngineSpec("embedder", url, {"routing": "least_loaded"}))
            assert isinstance(engine, RoutedEngine)
            await engine.start()
            assert isinstance(await one(engine, "embed", ["one", "two"]), Result)
            await a.stop()
            for _ in range(3):
                assert isinstance(await one(engine, "embed", ["one", "two"]), Result)
            await engine.close()

    run(main())


def test_a_wrong_option_of_routing_or_of_the_engines_is_refused() -> None:
    with pytest.raises(ConfigError, match="routing"):
        create(EngineSpec("embedder", "openai://a:1,b:2/m", {"routing": "random"}))
    with pytest.raises(ConfigError, match="colour"):
        create(EngineSpec("embedder", "openai://a:1,b:2/m", {"colour": "red"}))
