"""Against real servers that the environment names; nothing is asked otherwise.

TEOLA_TEST_OPENAI_URL=openai:gpt-5-mini       with OPENAI_API_KEY; costs a little
TEOLA_TEST_OLLAMA_URL=ollama://localhost/qwen3:0.6b
"""

import asyncio
import json
import os
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest

from backends.base import Request, Result, Turn
from backends.registry import EngineSpec, create

pytestmark = pytest.mark.server

NAMES = ("TEOLA_TEST_OPENAI_URL", "TEOLA_TEST_OLLAMA_URL")
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"name": "weather", "description": "The weather in a city now", "parameters": CITY}


@pytest.fixture(params=NAMES)
def url(request: pytest.FixtureRequest) -> str:
    found = os.environ.get(request.param)
    if not found:
        pytest.skip(f"{request.param} names no server")
    return found


def ask(
    url: str, text: str, pieces: list[str] | None = None, options: Any = None, **attrs: Any
) -> Result:
    async def main() -> Result:
        engine = create(EngineSpec("llm", url, options or {}))
        try:
            await engine.start()
            parts = (Turn("user"), text, Turn("assistant"))
            emit = None if pieces is None else pieces.append
            sampling: Mapping[str, Any] = {"max_tokens": 2000, **attrs}
            request = Request(uuid4().hex, "generate", parts, sampling, emit=emit)
            (outcome,) = await engine.execute([request])
            assert isinstance(outcome, Result), outcome
            return outcome
        finally:
            await engine.close()

    return asyncio.run(main())


def test_a_question_is_answered_and_streamed(url: str) -> None:
    pieces: list[str] = []
    found = ask(url, "What is the capital of France? One word.", pieces)
    assert "Paris" in found.outputs[0]
    assert "".join(pieces) == found.outputs[0]
    assert found.usage.prefill_tokens + found.usage.cached_tokens > 0
    assert found.usage.decode_tokens > 0


def test_answers_keep_to_their_form(url: str) -> None:
    listed = ask(url, "Three primes.", schema={"type": "array", "items": {"type": "integer"}})
    assert all(isinstance(number, int) for number in json.loads(listed.outputs[0]))
    choice = ask(url, "Is the sky blue?", choices=["yes", "no"])
    assert choice.outputs[0] in ("yes", "no")


def test_a_tool_is_called(url: str) -> None:
    found = ask(url, "What is the weather in Bern? Use the tool.", tools=[TOOL])
    (call,) = found.samples[0].tool_calls
    assert call.name == "weather"
    assert json.loads(call.arguments)["city"]
    assert found.finish_reason == "tool_calls"


def test_the_responses_api_says_the_same_kind_of_thing(url: str) -> None:
    if not url.startswith("openai:"):
        pytest.skip("OpenAI's own API")
    found = ask(url, "The capital of France? One word.", options={"api": "responses"})
    assert "Paris" in found.outputs[0]
