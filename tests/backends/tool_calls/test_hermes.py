"""The Hermes format: what is read from whole texts and from pieces of them."""

import pytest

from backends.base import ToolCall
from backends.tool_calls.hermes import HermesParser, hermes_text
from backends.tool_calls.stream import TurnStream
from backends.tool_calls.turn import ToolTurn, read_turn

TWO = """I look.
<tool_call>
{"name": "find", "arguments": {"q": "a </tool_call> \\" } b"}}
</tool_call>
<tool_call>
{"name": "read", "arguments": {}}
</tool_call>"""


def turn_of(*pieces: str) -> ToolTurn:
    stream = TurnStream(HermesParser())
    text = "".join(map(stream.feed, pieces)) + stream.finish()
    assert text == stream.text
    turn = read_turn(text)
    assert turn is not None
    assert turn.calls == stream.calls
    return turn


def test_calls_are_read_and_numbered_and_space_around_them_is_no_content() -> None:
    assert turn_of(TWO) == ToolTurn(
        "I look.",
        (
            ToolCall("call_0", "find", '{"q": "a </tool_call> \\" } b"}'),
            ToolCall("call_1", "read", "{}"),
        ),
    )


def test_a_call_is_given_when_it_is_complete_and_content_at_once() -> None:
    stream = TurnStream(HermesParser())
    first, second, _ = TWO.partition('\n<tool_call>\n{"name": "read')
    assert stream.feed("I look.\n<tool") == '{"content": "I look.'
    assert '"name": "find"' in stream.feed(first[len("I look.\n<tool") :] + "\n")
    assert stream.feed(second) == ""


def test_a_call_at_the_end_may_lack_its_closing_tag() -> None:
    assert (
        turn_of('<tool_call>{"name": "f", "arguments": {"a": 1}}').calls[0].arguments == '{"a": 1}'
    )


def test_arguments_written_into_a_string_are_read() -> None:
    call = '<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>'
    assert turn_of(call).calls == (ToolCall("call_0", "f", '{"a": 1}'),)


@pytest.mark.usefixtures("no_collection")
def test_what_is_no_call_is_content_as_it_was_written() -> None:
    for text in (
        "",
        " plain  \n",
        "<tool_call>",
        "a \n<tool_call>\nno json</tool_call> b",
        '<tool_call>{"name": "f", "arguments": {"a": ',
        '<tool_call>{"name": "f", "arguments": [1]}</tool_call>',
        '<tool_call>{"name": 3}</tool_call>',
        '<tool_call>{"name": "f", "arguments": {"a": NaN}}</tool_call>',
        '<tool_call>{"name": "f" "arguments"}</tool_call>',
        '<tool_call>{"a": ' + "[" * 100_000,
        "<tool_call>{]}",
    ):
        assert turn_of(text) == ToolTurn(text)


def test_a_call_behind_one_that_is_none_is_found() -> None:
    bad, good = "<tool_call>{]", '<tool_call>{"name": "f"}</tool_call>'
    assert turn_of(f"{bad}}}{good}") == ToolTurn(f"{bad}}}", (ToolCall("call_0", "f", "{}"),))
    assert turn_of(f"{good} so {bad}") == ToolTurn(f"so {bad}", (ToolCall("call_0", "f", "{}"),))


def test_a_turn_that_is_written_is_read_again() -> None:
    turn = ToolTurn("I look.", (ToolCall("call_0", "find", '{"q": "tea"}'),))
    assert turn_of(hermes_text(turn)) == turn
