"""However a text is cut, a parser finds the same; and nothing makes it raise."""

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from backends.base import ToolCall
from backends.tool_calls.formats import FORMATS
from backends.tool_calls.parser import CallParser, Piece
from backends.tool_calls.stream import TurnStream
from backends.tool_calls.turn import read_turn

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
