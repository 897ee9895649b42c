"""However a text is cut, a parser finds the same; and nothing makes it raise."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import ToolCall
from backends.tool_calls.format import CallFormat, written_text
from backends.tool_calls.formats import FORMATS
from backends.tool_calls.parser import CallParser, Piece
from backends.tool_calls.stream import TurnStream
from backends.tool_calls.turn import ToolTurn, read_turn

PARSERS = {form.name: form.parser for form in FORMATS}
WORDS = (
    "<tool_call>", "</tool_call>", "<tool", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "f", " [",
    "<|python_tag|>", "<|py", ";", '{"name": "h", "parameters": {"q": 1}}',
    "\n", " ", "Text", '{"name": "f", "arguments": {}}',
    '{"name": "g", "arguments": {"a": "}\\"<tool_call>"}}', "{", "}", '"', "\\", "[", "]", ",", "é",
)  # fmt: skip
texts = st.lists(st.sampled_from(WORDS), max_size=12).map("".join)


def pieces_of(parser: CallParser, *texts: str) -> list[Piece]:
    """Content that follows on content is one piece."""
    found: list[Piece] = []
    for piece in (*(piece for text in texts for piece in parser.feed(text)), *parser.finish()):
        if found and isinstance(piece, str) and isinstance(found[-1], str):
            found[-1] += piece
        else:
            found.append(piece)
    return found


@given(st.sampled_from(sorted(PARSERS)), texts, st.lists(st.integers(0, 200), max_size=8))
def test_any_cut_of_a_text_gives_the_same_content_and_calls(
    name: str, text: str, cuts: list[int]
) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    parts = [text[a:b] for a, b in pairwise(places)]
    whole = pieces_of(PARSERS[name](), text)
    assert pieces_of(PARSERS[name](), *parts) == whole
    assert pieces_of(PARSERS[name](), *text) == whole


@given(st.sampled_from(sorted(PARSERS)), texts)
def test_no_character_that_is_no_space_is_lost_from_a_text_without_calls(
    name: str, text: str
) -> None:
    found = pieces_of(PARSERS[name](), text)
    if not any(isinstance(piece, ToolCall) for piece in found):
        assert "".join(piece for piece in found if isinstance(piece, str)) == text


@given(st.sampled_from(sorted(PARSERS)), texts)
def test_the_canonical_turn_is_the_same_text_however_the_model_s_text_is_cut(
    name: str, text: str
) -> None:
    whole, cut = TurnStream(PARSERS[name]()), TurnStream(PARSERS[name]())
    assert whole.feed(text) + whole.finish() == whole.text
    told = "".join(map(cut.feed, text)) + cut.finish()
    assert told == cut.text == whole.text
    turn = read_turn(told)
    assert turn is not None
    assert turn.calls == whole.calls
    for call in turn.calls:
        assert isinstance(json.loads(call.arguments), dict)


def test_calls_behind_a_list_that_stops_to_be_one_are_found() -> None:
    call = '{"name": "f", "arguments": {}}'
    found = pieces_of(PARSERS["mistral"](), f"[TOOL_CALLS] [{call} [TOOL_CALLS] [{call}]")
    assert [type(piece) for piece in found] == [ToolCall, ToolCall]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
@pytest.mark.parametrize("content", ["", "I look."])
def test_a_turn_that_is_cut_behind_a_call_has_no_markup_in_its_content(
    form: CallFormat, content: str
) -> None:
    calls = (ToolCall("abcdefgh1", "find", '{"q": "a"}'), ToolCall("abcdefgh2", "read", "{}"))
    text = written_text(form, ToolTurn(content, calls))
    found = [pieces_of(form.parser(), text[:end]) for end in range(len(text) + 1)]
    called = [one for one in found if any(isinstance(piece, ToolCall) for piece in one)]
    assert len(called) > 20
    for pieces in called:
        assert "".join(piece for piece in pieces if isinstance(piece, str)) == content
    assert [piece.name for piece in called[-1] if isinstance(piece, ToolCall)] == ["find", "read"]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_what_a_model_says_behind_its_call_stays_its_content(form: CallFormat) -> None:
    call = written_text(form, ToolTurn("", (ToolCall("abcdefgh1", "find", '{"q": "a"}'),)))
    for said in ("So be it.", "< 3", "</b>", "[1]", "{no call}"):
        _, *behind = pieces_of(form.parser(), f"{call}\n{said}")
        assert "".join(map(str, behind)).strip() == said
