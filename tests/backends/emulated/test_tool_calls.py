"""Tools on emulated engines: made-up calls fit, recorded ones are made again."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backends.base import Request, Result, ToolCall, Turn
from backends.emulated.recorder import Recorder
from backends.fake.llm import FakeLLM
from backends.registry import EngineSpec, create
from backends.tool_calls.turn import ToolTurn, read_turn
from runtime.clock import run_virtual

LLM = "emulated:h100/llama-3.1-8b"
FIND = {
    "name": "find",
    "parameters": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
}
ASK = (Turn("user"), "What colour has tea?", Turn("assistant"))
CALL = 'So. <tool_call>{"name": "find", "arguments": {"q":"tea"}}</tool_call>'


async def call(engine: Any, op: str, *inputs: Any, **attrs: Any) -> tuple[Request, Result]:
    request = Request(uuid4().hex, op, inputs, attrs)
    (outcome,) = await engine.execute([request])
    assert isinstance(outcome, Result), outcome
    return request, outcome


async def talk(engine: Any) -> tuple[list[tuple[Request, Result]], list[Any]]:
    """A call, its answer, and what the model then says."""
    await engine.start()
    opened = await call(engine, "prefill", None, *ASK, tools=[FIND])
    first = await call(engine, "decode", opened[1].outputs[0], max_tokens=80)
    more = (Turn("tool"), "green", Turn("assistant"))
    second = await call(engine, "decode", first[1].outputs[1], *more, max_tokens=80)
    await engine.close()
    return [opened, first, second], [first[1].outputs[0], second[1].outputs[0]]


def made(**options: Any) -> Any:
    return create(EngineSpec("llm", LLM, {"tokenizer": "bytes", **options}))


@pytest.mark.parametrize("choice", ["required", "auto", "none"])
def test_what_is_made_up_is_a_turn_that_the_choice_allows(choice: str) -> None:
    async def main() -> ToolTurn | None:
        engine = made()
        await engine.start()
        attrs = {"tools": [FIND], "tool_choice": choice, "max_tokens": 300}
        _, result = await call(engine, "decode", None, *ASK, **attrs)
        await engine.close()
        return read_turn(result.outputs[0])

    turn = run_virtual(main())
    assert turn is not None
    assert bool(turn.calls) == (choice == "required")
    assert bool(turn.content) == (choice != "required")
    for one in turn.calls:
        assert json.loads(one.arguments).keys() == {"q"}


def test_a_recorded_conversation_with_tools_is_held_again(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    replies = {r"<\|tool\|>green": "Green.", "colour": CALL}
    done, said = run_virtual(talk(FakeLLM("fake:", {"replies": replies})))
    recorder = Recorder(path)
    for request, result in done:
        recorder(request, result)
    recorder.close()
    engine = made(recording=str(path))
    _, again = run_virtual(talk(engine))
    assert again == said
    turn = read_turn(again[0])
    assert turn == ToolTurn("So.", (ToolCall("call_0", "find", '{"q": "tea"}'),))
    assert engine.recording_stats.missing == 0
