"""The canonical turn that all engines give."""

import json

from backends.base import ToolCall
from backends.tool_calls.turn import ToolTurn, TurnWriter, read_turn, turn_text

FIND = ToolCall("call_0", "find", '{"q": "tea"}')
READ = ToolCall("call_1", "read", '{"path": "a\\"b"}')


def test_a_turn_is_json_with_content_and_calls() -> None:
    text = turn_text(ToolTurn('I "look".\n', (FIND, READ)))
    assert json.loads(text) == {
        "content": 'I "look".\n',
        "calls": [
            {"id": "call_0", "name": "find", "arguments": '{"q": "tea"}'},
            {"id": "call_1", "name": "read", "arguments": '{"path": "a\\"b"}'},
        ],
    }


def test_what_is_written_in_pieces_is_written_as_it_comes() -> None:
    writer = TurnWriter()
    assert writer.content("I ") == '{"content": "I '
    assert writer.content('"look"') == '\\"look\\"'
    assert writer.call(FIND).startswith('", "calls": [{"id": "call_0"')
    assert writer.end() == "]}"
    assert read_turn(writer.text) == ToolTurn('I "look"', (FIND,))


def test_a_turn_without_anything_is_a_turn() -> None:
    assert turn_text(ToolTurn("")) == '{"content": "", "calls": []}'


def test_content_behind_calls_is_kept_and_calls_behind_it_are_calls() -> None:
    writer = TurnWriter()
    writer.content("a")
    writer.call(FIND)
    assert writer.content(" b") == ""
    writer.call(READ)
    writer.end()
    assert json.loads(writer.text)["after"] == " b"
    assert read_turn(writer.text) == ToolTurn("a b", (FIND, READ))


def test_other_texts_are_no_turns() -> None:
    for text in (
        "",
        "hello",
        '{"content": "a"}',
        '{"content": "a", "calls": {}}',
        '{"content": "a", "calls": [1]}',
        '{"content": "a", "calls": [{"id": "1", "name": "n", "arguments": {}}]}',
        '{"content": "a", "calls": [], "more": 1}',
        '{"content": "a", "calls": [',
        '{"content": "' + "[" * 9,
    ):
        assert read_turn(text) is None
