"""Outputs read out of the objects that servers write, however the text is cut."""

import json
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.remote.unwrapping import (
    AsWritten,
    InObject,
    Unwrapping,
    choice_as_json,
    choice_in_object,
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
cuts = st.lists(st.integers(0, 200), max_size=6)


def pieces_of(text: str, places: list[int]) -> list[str]:
    ends = sorted({min(place, len(text)) for place in places} | {0, len(text)})
    return [text[a:b] for a, b in pairwise(ends)]


def read(unwrapping: Unwrapping, pieces: list[str]) -> str:
    return "".join(map(unwrapping.feed, pieces)) + unwrapping.end()


@settings(deadline=None)
@given(values, cuts, st.sampled_from([None, 2]))
def test_the_value_in_an_object_is_read_as_it_was_written(
    value: object, places: list[int], indent: int | None
) -> None:
    text = json.dumps({"answer": value}, indent=indent)
    found = read(InObject(), pieces_of(text, places))
    assert json.loads(found) == value
    assert found in text


@settings(deadline=None)
@given(st.text(), cuts)
def test_choices_are_read_out_of_their_quotes(choice: str, places: list[int]) -> None:
    inside = json.dumps({"answer": choice})
    assert read(choice_in_object(), pieces_of(inside, places)) == choice
    assert read(choice_as_json(), pieces_of(json.dumps(choice), places)) == choice


@settings(deadline=None)
@given(st.text(), cuts)
def test_plain_text_is_told_at_once(text: str, places: list[int]) -> None:
    unwrapping = AsWritten()
    for piece in pieces_of(text, places):
        assert unwrapping.feed(piece) == piece
    assert unwrapping.end() == ""


def test_a_value_is_told_while_it_is_written_but_for_braces_that_may_be_the_last() -> None:
    unwrapping = InObject()
    told = [unwrapping.feed(piece) for piece in ['{"answer"', ': [{"a": 1}', ', {"a"', ": 2}]}"]]
    assert told == ["", '[{"a": 1', '}, {"a"', ": 2}]"]
    assert unwrapping.end() == ""


def test_a_value_that_was_cut_is_told_as_far_as_it_goes() -> None:
    assert read(InObject(), ['{"answer": [1, ', "2"]) == "[1, 2"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (InObject, "Sure: [1]"),
        (choice_in_object, '{"other": "yes"}'),
        (choice_in_object, '{"answer": 1}'),
        (choice_as_json, "yes"),
    ],
)
def test_text_of_another_form_is_an_error(make: Callable[[], Unwrapping], text: str) -> None:
    with pytest.raises((KeyError, ValueError)):
        read(make(), [text])
