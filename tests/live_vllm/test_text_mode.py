"""`vllm://` in text mode, where the server keeps template and tokens: the same greedy texts."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from backends.base import Result, Turn
from backends.errors import EngineError

pytestmark = [pytest.mark.server, pytest.mark.model]

Call = Callable[..., Awaitable[Result]]
Run = Callable[..., Any]
GREEDY = {"temperature": 0, "max_tokens": 24}
QUESTIONS = ("Name three rivers of France.", "What is bread made of?")
TEXT_MODE = {"tokenizer": "server"}


def asked(question: str) -> tuple[Any, ...]:
    return (Turn("system"), "You answer briefly.", Turn("user"), question, Turn("assistant"))


def test_whole_prompts_are_answered_as_in_token_mode(on_server: Run) -> None:
    async def scenario(call: Call) -> Any:
        runs = (call("generate", *asked(question), **GREEDY) for question in QUESTIONS)
        return [result.outputs[0] for result in await asyncio.gather(*runs)]

    texts = on_server(scenario, **TEXT_MODE)
    assert texts == on_server(scenario)
    assert all(texts)


def test_a_conversation_is_continued_as_in_token_mode(on_server: Run) -> None:
    async def scenario(call: Call) -> Any:
        first = await call("decode", None, *asked(QUESTIONS[0]), **GREEDY, stop=["\n"])
        again = (Turn("user"), "And of Italy?", Turn("assistant"))
        second = await call("decode", first.outputs[1], *again, **GREEDY)
        return first.outputs[0], second.outputs[0]

    assert on_server(scenario, **TEXT_MODE) == on_server(scenario)


def test_structured_output_and_streams_are_as_in_token_mode(on_server: Run) -> None:
    pieces: list[str] = []
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
        "additionalProperties": False,
    }

    async def scenario(call: Call) -> Any:
        prompt = asked("Which city is the capital of France?")
        return (
            await call("generate", *prompt, **GREEDY, schema=schema, emit=pieces.append)
        ).outputs[0]

    text = on_server(scenario, **TEXT_MODE)
    assert text == on_server(scenario)
    assert "".join(pieces) == text * 2


def test_cached_tokens_are_counted_in_text_mode_too(on_server: Run) -> None:
    async def scenario(call: Call) -> Any:
        prompt = asked("Say this again: " + "one two three " * 40)
        await call("generate", *prompt, **GREEDY)
        return (await call("generate", *prompt, **GREEDY)).usage

    assert on_server(scenario, **TEXT_MODE).cached_tokens >= 64


def test_a_server_started_without_a_tool_parser_refuses_tools(on_server: Run) -> None:
    tool = {"name": "search", "description": "", "parameters": {"type": "object"}}

    async def scenario(call: Call) -> Any:
        with pytest.raises(EngineError, match="tool"):
            await call("generate", *asked("Search for ships."), **GREEDY, tools=[tool])
        return "refused"

    assert on_server(scenario, **TEXT_MODE) == "refused"
