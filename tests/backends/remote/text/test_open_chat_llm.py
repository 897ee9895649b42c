"""Scoring and load in text mode, at servers that show their tokens."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any
from uuid import uuid4

import pytest
from scripted_server import USER, Script, served

from backends.base import Request, Result
from backends.engine_load import EngineLoad, ReportsLoad
from backends.errors import RequestRejected
from backends.remote.client import Client
from backends.remote.llm_options import RemoteLLMOptions
from backends.remote.mode_at_start import ModeAtStart
from backends.remote.open_chat_llm import OpenChatLLM
from backends.remote.token_mode.call import Choice, Cost, Prompt
from backends.remote.url import parse_url

MODELS = {"/v1/models": {"data": [{"id": "m"}]}}
BEGUN = (*USER, "It was")


class Routes:
    """A server's routes for token ids: a letter is a token."""

    def __init__(self) -> None:
        self.num_probes = 0
        self.scored: list[tuple[Prompt, Sequence[Choice]]] = []

    async def probe(self) -> None:
        self.num_probes += 1

    async def tokenize(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    async def score(self, prompt: Prompt, choices: Sequence[Choice]) -> tuple[list[float], Cost]:
        self.scored.append((prompt, choices))
        return [-float(sum(choice.ids)) for choice in choices], Cost(7, 2, 1)

    async def load(self) -> EngineLoad:
        return EngineLoad(num_running=3)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 60))


async def asked(
    scheme: str, script: Script, routes: Routes, parts: Sequence[Any], *selects: dict[str, Any]
) -> list[Any]:
    async def connect() -> Any:
        return routes

    async with served(script) as address:
        url = parse_url(f"{scheme}://{address}/m")
        options = RemoteLLMOptions()
        engine = OpenChatLLM(url, options, Client(url.endpoints[0], options), connect)
        assert "select" in engine.info.capabilities
        try:
            await engine.start()
            assert isinstance(engine, ReportsLoad)
            assert (await engine.load()).num_running == 3
            prefill = Request(uuid4().hex, "prefill", (None, *parts))
            (first,) = await engine.execute([prefill])
            assert isinstance(first, Result), first
            requests = [
                Request(uuid4().hex, "select", (first.outputs[0], s.pop("choices")), s)
                for s in selects
            ]
            return await engine.execute(requests)
        finally:
            await engine.close()


def test_choices_are_scored_by_the_servers_own_tokens() -> None:
    async def main() -> None:
        script = Script({**MODELS, "/tokenize": {"tokens": [5, 6], "count": 2}})
        routes = Routes()
        mean, total = await asked(
            "vllm",
            script,
            routes,
            USER,
            {"choices": ["bb", "a"]},
            {"choices": ["bb", "c"], "score": "sum"},
        )
        assert mean.outputs[:2] == ("a", [-98.0, -97.0])
        assert mean.outputs[2].parts == (*USER, "a")
        assert mean.outputs[2].num_tokens == 3
        assert total.outputs[:2] == ("c", [-196.0, -99.0])
        assert (mean.usage.prefill_tokens, mean.usage.cached_tokens) == (7, 2)
        assert routes.num_probes == 1
        assert routes.scored[0][0].ids == [5, 6]

    run(main())


@pytest.mark.parametrize(
    ("scheme", "parts", "body"),
    [
        ("vllm", USER, {"add_generation_prompt": True}),
        ("vllm", BEGUN, {"continue_final_message": True, "add_generation_prompt": False}),
        ("sglang", BEGUN, {"continue_final_message": True, "add_generation_prompt": False}),
        ("teola", BEGUN, {"add_generation_prompt": False}),
    ],
)
def test_the_server_tokenises_a_context_as_it_stands(
    scheme: str, parts: Any, body: dict[str, bool]
) -> None:
    async def main() -> None:
        script = Script({**MODELS, "/tokenize": {"tokens": [5], "count": 1}})
        (found,) = await asked(scheme, script, Routes(), parts, {"choices": ["a"]})
        assert isinstance(found, Result), found
        messages = [{"role": "user", "content": "Who wrote SQLite?"}]
        if parts is BEGUN:
            messages.append({"role": "assistant", "content": "It was"})
        assert script.posts()[-1] == {"model": "m", "messages": messages, **body}

    run(main())


def test_a_context_without_turns_is_tokenised_as_text() -> None:
    async def main() -> None:
        script = Script({**MODELS, "/tokenize": {"tokens": [5], "count": 1}})
        await asked("vllm", script, Routes(), ("Once",), {"choices": ["a"]})
        assert script.posts()[-1] == {"model": "m", "prompt": "Once"}

    run(main())


@pytest.mark.parametrize(
    ("parts", "select", "words"),
    [
        ((), {"choices": ["a"]}, "a context with some text"),
        (USER, {"choices": ["a", ""]}, "choice '' has no token"),
        (USER, {"choices": "a"}, "a list of one string or more"),
        (USER, {"choices": ["a"], "score": "best"}, "score must be one of"),
    ],
)
def test_wrong_selects_are_refused(parts: Any, select: dict[str, Any], words: str) -> None:
    async def main() -> None:
        script = Script({**MODELS, "/tokenize": {"tokens": [5], "count": 1}})
        (found,) = await asked("vllm", script, Routes(), parts, select)
        assert isinstance(found, RequestRejected), found
        assert words in str(found)

    run(main())


def test_an_engine_that_chooses_its_mode_at_the_start_shares_contexts_in_text_mode() -> None:
    async def main() -> None:
        async with served(Script(MODELS)) as address:
            url = parse_url(f"vllm://{address}/m")
            options = RemoteLLMOptions()
            client = Client(url.endpoints[0], options)

            async def connect() -> Any:
                raise AssertionError("not asked")

            async def find(_: Any) -> None:
                return None

            text = OpenChatLLM(url, options, client, connect)
            engine = ModeAtStart(client, frozenset(), find, lambda: text, lambda _: text)
            owner = object()
            engine.share_contexts(owner)
            await engine.start()
            (made,) = await engine.execute([Request(uuid4().hex, "prefill", (None, *USER))])
            assert isinstance(made, Result), made
            assert made.outputs[0].owner is owner
            await engine.close()

    run(main())
