"""Elements of growing texts: whatever has come so far, they are the first of the final ones."""

import json
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, StringConstraints, TypeAdapter, create_model

from backends.json_items import JsonItems
from frontend_dsl.element_types import element_type
from graph_opt.graph import Node
from runtime.element_parsers import ElementParser, element_parser
from runtime.errors import ParseError


class Point(BaseModel):
    x: int = Field(alias="X")
    label: str = "none"
    inner: "Point | None" = None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-300, 300)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
    | st.sampled_from(['"', "\\", "]", "a\nb", ", ", " a "]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["X", "label", "inner", "a", "words"]), inner, max_size=3)
    ),
    max_leaves=5,
)


INTS, FLOATS = st.integers(-300, 300), st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
POINTS = st.recursive(
    st.fixed_dictionaries({"X": INTS}, optional={"label": TEXTS, "inner": st.none()}),
    lambda inner: st.fixed_dictionaries({"X": INTS, "inner": inner}),
    max_leaves=3,
)
ITEMS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, INTS),
    (float, FLOATS | INTS),
    (Decimal, FLOATS | INTS | FLOATS.map(str)),
    (str, TEXTS),
    (bool | int | str | None, st.booleans() | INTS | TEXTS | st.none()),
    (Literal["a", 1], st.sampled_from(["a", 1])),
    (Annotated[str, StringConstraints(strip_whitespace=True, to_upper=True)], TEXTS),
    (Annotated[int, Field(ge=-5)], INTS),
    (dict[str, list[float]], st.dictionaries(TEXTS, st.lists(FLOATS, max_size=2), max_size=2)),
    (list[list[int]], st.lists(st.lists(INTS, max_size=2), max_size=2)),
    (Point, POINTS),
    (Point | dict[str, str], POINTS | st.dictionaries(TEXTS, TEXTS, max_size=2)),
    (Any, JSON),
]


@st.composite
def documents(draw: st.DrawFn) -> tuple[Any, tuple[str, ...], str]:
    """A type, the path of a list in it, and a JSON text that may be of this type."""
    item, right = draw(st.sampled_from(ITEMS))
    values = right if draw(st.integers(0, 3)) else right | JSON
    document: Any = draw(st.lists(values, max_size=4))
    type_, path = list[item], list[str]()
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(["words", "steps"]))
        alias = draw(st.sampled_from([name, f"{name}-é", 'q"']))
        field = Field(alias=alias) if draw(st.booleans()) else Field([], alias=alias)
        type_ = create_model("Model", **{name: (type_, field)}, label=(Any, None))  # type: ignore[call-overload]
        others = draw(st.dictionaries(st.sampled_from(["label", "z"]), JSON, max_size=2))
        members = [*others.items(), (alias, document)]
        document = dict(draw(st.permutations(members)))
        path.insert(0, name)
    separators = draw(st.sampled_from([(",", ":"), (" , ", " : "), (",\n\t", ": ")]))
    escape = draw(st.booleans())
    return type_, tuple(path), json.dumps(document, ensure_ascii=escape, separators=separators)


def parser_of(type_: Any, path: tuple[str, ...]) -> ElementParser:
    attrs = {"type": "T", "items": "I", "path": list(path)}
    symbols = {"T": type_, "I": element_type(type_, path)}
    assert symbols["I"] is not None
    return element_parser(Node(("e",), "elements", (), attrs), symbols)


@settings(max_examples=400, deadline=None)
@given(documents())
def test_after_every_character_the_elements_so_far_are_the_first_of_the_final_ones(
    document: tuple[Any, tuple[str, ...], str],
) -> None:
    type_, path, text = document
    parser = parser_of(type_, path)
    given_early: list[Any] = []
    for end in range(len(text) + 1):
        given_early += parser.more(text[:end])
    try:
        expected: Any = TypeAdapter(type_).validate_json(text)
    except ValueError:
        with pytest.raises(ParseError):
            parser.finish(text)
        return
    for name in path:
        expected = getattr(expected, name)
    assert given_early in (expected, [])  # none of a default, else all of a text that is complete
    assert [*map(type, given_early)] == [*map(type, expected)][: len(given_early)]
    assert bool(given_early) == bool(expected)
    assert parser.finish(text) == expected


@given(documents(), st.lists(st.integers(0, 200)))
def test_it_does_not_matter_in_what_pieces_a_text_comes(
    document: tuple[Any, tuple[str, ...], str], cuts: list[int]
) -> None:
    _, path, text = document
    pieces, whole = JsonItems(path), JsonItems(path)
    got = [item for end in sorted(cuts) for item in pieces.read(text[:end])]
    assert [*got, *pieces.read(text)] == [*whole.read(text)]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("[1", []),
        ("[12, 1", ["12"]),
        ("[1]", ["1"]),
        ('["a\\"', []),
        ('["a\\""', ['"a\\""']),
        ('[{"a": [1, 2]}, {', ['{"a": [1, 2]}']),
        ("[[], [[1]], [", ["[]", "[[1]]"]),
        ("[] [1, 2]", []),
        ('{"other": [1], "list": [2]', []),
        ("", []),
    ],
)
def test_an_item_is_given_when_nothing_can_be_added_to_it(text: str, items: list[str]) -> None:
    assert [*JsonItems(()).read(text)] == items


def test_only_the_list_under_the_keys_counts() -> None:
    text = '{"b": {"a": [1]}, "a": {"c": ["a", [9]], "b": [2, {"b": [3]}]}, "b": [4]}'
    assert [*JsonItems(("a", "b")).read(text)] == ["2", '{"b": [3]}']


def test_an_element_that_was_given_stays_the_same_to_the_end() -> None:
    class Row(BaseModel):
        name: str
        id: UUID = Field(default_factory=uuid4)

    parser = parser_of(list[Row], ())
    (first,) = parser.more('[{"name": "a"}, ')
    assert parser.finish('[{"name": "a"}, {"name": "b"}]')[0] is first


def test_nothing_is_given_behind_an_element_that_is_wrong() -> None:
    parser = parser_of(list[int], ())
    assert parser.more('[1, "x", 2, ') == [1]
    assert parser.more('[1, "x", 2, 3, ') == []
    with pytest.raises(ParseError, match="valid integer"):
        parser.finish('[1, "x", 2, 3]')


def test_a_key_that_stands_twice_is_refused_for_nobody_knows_which_list_is_meant() -> None:
    class Words(BaseModel):
        words: list[str]

    with pytest.raises(ParseError, match="no clear T: .*duplicate key"):
        parser_of(Words, ("words",)).finish('{"words": ["a"], "words": ["b"]}')


def test_lines_are_complete_at_their_breaks_and_one_of_them_there_must_be() -> None:
    parser = element_parser(Node(("e",), "elements", (), {"parser": "lines"}), {})
    assert parser.more("Sure:\n1. fir") == []
    assert parser.more("Sure:\n1. first\n- sec") == ["first"]
    assert parser.finish("Sure:\n1. first\n- second") == ["first", "second"]
    with pytest.raises(ParseError, match="no numbered or bulleted line"):
        parser.finish("Sure: first")
