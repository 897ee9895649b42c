"""Turns read while they are written."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import ToolCall
from backends.tool_calls.turn import ToolTurn, turn_text
from frontend_dsl.agents.turn_reader import Call, TurnReader

words = st.text(max_size=12)
calls = st.lists(st.tuples(words, st.dictionaries(words, words, max_size=2)), max_size=3)


@given(words, calls, st.lists(st.integers(1, 7), min_size=1, max_size=8))
def test_a_canonical_turn_is_read_whole_however_it_is_cut(
    content: str, made: list[tuple[str, dict[str, str]]], sizes: list[int]
) -> None:
    said = [ToolCall(f"call_{i}", name, json.dumps(a)) for i, (name, a) in enumerate(made)]
    text = turn_text(ToolTurn(content, tuple(said)))
    reader, contents, found = TurnReader(), "", list[Call]()
    at, turn = 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        piece, more = reader.feed(text[at : at + size])
        contents += piece
        found += more
        at, turn = at + size, turn + 1
    assert contents == content
    assert [(call.name, json.loads(call.arguments)) for call in found] == made


def test_a_call_is_there_before_the_next_one_is_written() -> None:
    text = turn_text(ToolTurn("So.", (ToolCall("0", "a", "{}"), ToolCall("1", "b", "{}"))))
    reader = TurnReader()
    reader.feed(text[: text.index('"b"')])
    assert reader.calls == [Call("a", "{}")]


def test_arguments_may_be_an_object_and_content_may_come_late() -> None:
    reader = TurnReader()
    reader.feed('{"content": "a\\ud83d')
    assert reader.content == "a"
    text = '\\ude00", "calls": [{"name": "f", "arguments": {"x": 1}}], "after": " b"}'
    assert reader.feed(text) == ("😀 b", [Call("f", '{"x": 1}')])


@pytest.mark.parametrize(
    ("text", "content", "names"),
    [
        ("I just say hello.", "I just say hello.", []),
        ('{"calls": [{"name": "a", "arguments": {}}], "content": "So."}', "So.", ["a"]),
        ('{"calls": [{"name": "a", "arguments": {}}, 3]}', "", ["a"]),
        ('{"total": 3}', '{"total": 3}', []),
        ('{"content": "cut', "cut", []),
        (" ", "", []),
    ],
)
def test_what_a_model_writes_that_is_held_to_nothing_is_not_lost(
    text: str, content: str, names: list[str]
) -> None:
    reader = TurnReader()
    reader.feed(text)
    reader.finish()
    assert reader.content == content
    assert [call.name for call in reader.calls] == names
