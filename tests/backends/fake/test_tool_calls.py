"""Tool calls at the fake model."""

import asyncio
from typing import Any

import pytest

from backends.base import Request, Result, ToolCall, Turn
from backends.errors import RequestRejected
from backends.fake.llm import FakeLLM
from backends.tool_calls.turn import ToolTurn, read_turn

FIND = {
    "name": "find",
    "description": "",
    "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
}
CALL = 'So. <tool_call>{"name": "find", "arguments": {"q": "tea"}}</tool_call>'
TURN = ToolTurn("So.", (ToolCall("call_0", "find", '{"q": "tea"}'),))


def ask(llm: FakeLLM, op: str, *inputs: Any, **attrs: Any) -> Any:
    emit = attrs.pop("emit", None)
    (outcome,) = asyncio.run(llm.execute([Request("0" * 32, op, inputs, attrs, emit=emit)]))
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def test_a_reply_in_hermes_format_is_a_canonical_turn_that_streams() -> None:
    llm, pieces = FakeLLM("fake:", {"replies": {"tea": CALL}}), list[str]()
    opened = ask(llm, "prefill", None, Turn("user"), "tea", Turn("assistant"), tools=[FIND])
    result: Result = ask(llm, "decode", opened.outputs[0], emit=pieces.append)
    text, context = result.outputs
    assert "".join(pieces) == text
    assert len(pieces) > 2
    assert read_turn(text) == TURN
    assert result.samples[0].tool_calls == TURN.calls
    assert result.finish_reason == "tool_calls"
    assert context.text.endswith(CALL)
    assert "tools" in llm.info.capabilities


def test_tool_turns_go_on_behind_a_call_and_the_context_keeps_its_tools() -> None:
    llm = FakeLLM("fake:", {"replies": {r"<\|tool\|>green": "Green it is.", "tea": CALL}})
    first = ask(llm, "decode", None, "tea", tools=[FIND])
    more = (Turn("tool"), "green", Turn("assistant"))
    text, _ = ask(llm, "decode", first.outputs[1], *more).outputs
    assert read_turn(text) == ToolTurn("Green it is.")


def test_a_call_is_made_where_it_is_required_and_none_where_it_is_forbidden() -> None:
    text, _ = ask(
        FakeLLM("fake:", {}), "decode", None, "x", tools=[FIND], tool_choice="find"
    ).outputs
    turn = read_turn(text)
    assert turn is not None
    assert [call.name for call in turn.calls] == ["find"]
    llm = FakeLLM("fake:", {"replies": {"": CALL}})
    text, _ = ask(llm, "decode", None, "x", tools=[FIND], tool_choice="none").outputs
    assert read_turn(text) == ToolTurn(CALL)


def test_an_assistant_turn_given_as_a_canonical_turn_is_what_the_model_wrote() -> None:
    llm, api = FakeLLM("fake:", {}), FakeLLM("fake:api", {"replies": {"<tool_call>": "seen"}})
    first, _ = ask(
        FakeLLM("fake:", {"replies": {"": CALL}}), "decode", None, "x", tools=[FIND]
    ).outputs
    parts = (Turn("user"), "x", Turn("assistant"), first, Turn("tool"), "y", Turn("assistant"))
    context = ask(llm, "prefill", None, *parts, tools=[FIND]).outputs[0]
    assert '<tool_call>\n{"name": "find", "arguments": {"q": "tea"}}\n</tool_call>' in context.text
    (text,) = ask(api, "generate", *parts, tools=[FIND]).outputs
    assert read_turn(text) == ToolTurn("seen")


def test_several_samples_are_turns_each() -> None:
    texts, _ = ask(
        FakeLLM("fake:", {"replies": {"": CALL}}), "decode", None, "x", tools=[FIND], n=2
    ).outputs
    assert [read_turn(text) for text in texts] == [TURN, TURN]


def test_a_turn_that_is_cut_says_so_and_is_still_a_turn() -> None:
    llm = FakeLLM("fake:", {"replies": {"": CALL}})
    result = ask(llm, "decode", None, "x", tools=[FIND], max_tokens=2)
    assert result.samples[0].finish_reason == "length"
    assert read_turn(result.outputs[0]) == ToolTurn('So. <tool_call>{"name": ')


def test_tools_cannot_be_given_to_a_conversation_that_has_begun_without() -> None:
    llm = FakeLLM("fake:", {})
    context = ask(llm, "prefill", None, "x").outputs[0]
    with pytest.raises(RequestRejected, match="made with no tools"):
        ask(llm, "decode", context, tools=[FIND])


def test_a_model_without_the_capability_refuses_tools() -> None:
    llm = FakeLLM("fake:", {"capabilities": ["prefill", "fork"]})
    with pytest.raises(RequestRejected, match="capability 'tools'"):
        ask(llm, "decode", None, "x", tools=[FIND])
