"""The text of an answer while a run writes it, through failures too."""

from typing import Any

import pytest

from runtime.events import Event
from teola.app_serving.final_text import FinalText
from teola.serving.api_errors import ApiError


def text(piece: str, node: str = "say", final: bool = True) -> Event:
    return Event(0.0, "text", "q", node, "decode", {"text": piece, "final": final})


def retry(node: str = "say") -> Event:
    return Event(0.0, "retry", "q", node, "decode", {})


def test_final_pieces_are_the_answer_and_others_are_not() -> None:
    told = FinalText()
    assert told.new([text("one "), text("no ", "other", final=False)]) == "one "
    assert told.new([text("two")]) == "two"
    assert told.rest("one two") == ""


def test_what_was_not_told_comes_with_the_result() -> None:
    told = FinalText()
    told.new([text("one ")])
    assert told.rest("one two") == "two"


def test_a_text_that_is_written_again_goes_on_where_it_was_left() -> None:
    told = FinalText()
    assert told.new([text("one "), text("two ")]) == "one two "
    assert told.new([retry(), text("one ")]) == ""
    assert told.new([text("two three"), text(" four")]) == "three four"
    assert told.rest("one two three four") == ""


def test_another_source_may_write_the_answer_after_a_failure() -> None:
    told = FinalText()
    told.new([text("one ", "first"), retry("first")])
    assert told.new([text("one two", "second")]) == "two"


@pytest.mark.parametrize("again", ["other words", "one"])
def test_an_answer_that_became_another_is_an_error(again: str) -> None:
    told = FinalText()
    told.new([text("one two"), retry(), text(again)])
    with pytest.raises(ApiError, match="another answer was written"):
        told.rest(again)


@pytest.mark.parametrize(
    ("result", "written"), [({"a": "é"}, '{"a": "é"}'), (None, "null"), (3, "3"), ("x", "x")]
)
def test_a_result_that_is_no_text_is_told_as_json(result: Any, written: str) -> None:
    assert FinalText().rest(result) == written
