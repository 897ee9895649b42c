"""What an answer may be held to, and how many tokens it is given."""

import enum
import json
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

import teola as tl
from frontend_dsl.answer_length import enough_tokens
from frontend_dsl.forms import form_of
from frontend_dsl.schema import json_schema
from teola.errors import OutputInvalid

llm = tl.LLM("fake:", replies={"where": '{"town": "Oslo", "size": 3}', "cut": "17"})


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    name: Annotated[str, Field(max_length=10)]
    size: int
    weight: Annotated[float, Field(ge=0, le=1)]
    tags: Annotated[list[Literal["a", "bb"]], Field(max_length=3)]
    note: Annotated[str, Field(max_length=4)] | None


class Tree(BaseModel):
    left: "Tree | None"


def schema_of(type_: Any) -> Any:
    return json_schema(type_)


BOUNDED: list[tuple[Any, list[Any]]] = [
    (bool, [True, False]),
    (int, [0, -(10**18) + 1, 10**18 - 1]),
    (Annotated[int, Field(ge=-5, le=100)], [-5, 100]),
    (float, [-0.123456789, 123456789012345678.5]),
    (Literal["yes", "maybe not"], ["yes", "maybe not"]),
    (Colour, ["red", "blue"]),
    (tuple[bool, int], [[False, -12]]),
    (
        Part,
        [
            {
                "name": "\u00e9" * 10,
                "size": -1,
                "weight": 0.987654321,
                "tags": ["bb", "bb", "bb"],
                "note": "abcd",
            }
        ],
    ),
]


@pytest.mark.parametrize(("type_", "values"), BOUNDED)
def test_the_longest_answer_of_a_bounded_type_has_room(type_: Any, values: list[Any]) -> None:
    room = enough_tokens(schema_of(type_))
    assert room is not None
    assert all(len(json.dumps(value, ensure_ascii=False)) <= room for value in values)


@given(st.text(max_size=10), st.integers(-(10**18) + 1, 10**18 - 1), st.floats(0, 1))
def test_any_part_has_room(name: str, size: int, weight: float) -> None:
    part = Part(name=name, size=size, weight=round(weight, 9), tags=["bb"], note=None)
    room = enough_tokens(schema_of(Part))
    assert room is not None
    text = json.dumps(part.model_dump(), ensure_ascii=False)
    assert len(text) <= room


@pytest.mark.parametrize("type_", [str, list[int], dict[str, int], Tree, Any])
def test_an_unbounded_type_has_no_limit(type_: Any) -> None:
    assert enough_tokens(schema_of(type_)) is None


def test_max_tokens_follow_from_the_form_unless_they_are_given() -> None:
    assert form_of(bool).sampling["max_tokens"] == 8 + 5
    assert form_of(choices=["yes", "no"]).sampling["max_tokens"] == 8 + 3
    assert form_of(Tree).sampling["max_tokens"] == 256
    assert form_of().sampling["max_tokens"] == 256
    assert form_of(bool, max_tokens=3).sampling["max_tokens"] == 3


def test_numbers_have_a_limit_of_digits() -> None:
    assert json_schema(int) == {
        "type": "integer",
        "minimum": -(10**18) + 1,
        "maximum": 10**18 - 1,
    }
    assert json_schema(Annotated[int, Field(gt=0, le=9)]) == {
        "type": "integer",
        "exclusiveMinimum": 0,
        "maximum": 9,
    }
    assert json_schema(float)["multipleOf"] == 1e-9
    assert "multipleOf" not in json_schema(Annotated[float, Field(le=1e-9)])
    assert json_schema(Literal[1, 2]) == {"type": "integer", "enum": [1, 2]}


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"choices": []}, TypeError, "list of texts"),
    ({"choices": "yes"}, TypeError, "list of texts"),
    ({"choices": ["a", ""]}, TypeError, "none empty"),
    ({"choices": ["a", "a"]}, ValueError, "twice"),
    ({"regex": "("}, ValueError, "no regular expression"),
    ({"out": int, "regex": "a"}, TypeError, "one of out=, choices= and regex="),
    ({"out": {"a": 1}}, TypeError, "is no JSON schema"),
    ({"out": {"type": "object", "x": object()}}, TypeError, "is no JSON schema"),
    ({"out": type(lambda: 0)}, TypeError, "has no JSON schema"),
    ({"out": 3}, TypeError, "has no JSON schema"),
    ({"choices": ["a"], "retries": 1}, TypeError, "a text cannot be invalid"),
]


@pytest.mark.parametrize(("form", "error", "problem"), WRONG)
def test_a_wrong_form_is_told_at_decoration(
    form: dict[str, Any], error: type[Exception], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        tl.prompt(llm, **form)


@tl.prompt(llm, choices=["Oslo", "Rome"])
def town(question: str) -> str:
    return f"Which town? {question}"


@tl.prompt(llm, regex=r"[A-C]-\d{3}(?:x|y)+")
def code(question: str) -> str:
    return f"Which code? {question}"


@tl.prompt(
    llm,
    out={
        "type": "object",
        "properties": {"town": {"type": "string"}, "size": {"type": "integer"}},
        "required": ["town"],
    },
)
def place(question: str) -> str:
    return f"where is {question}"


@pytest.mark.parametrize("optimize", [True, False])
def test_an_answer_is_one_of_its_form(optimize: bool) -> None:
    @tl.app
    def app(question: str) -> Any:
        found = place(question)
        return town(question), code(question), found, found["size"], f"in {found.town}"

    answer = app.using(optimize=optimize)("it?")
    assert answer[0] in ("Oslo", "Rome")
    assert answer[1:] == ("A-000x", {"town": "Oslo", "size": 3}, 3, "in Oslo")


def test_the_decode_carries_its_form() -> None:
    @tl.app
    def app(question: str) -> Any:
        return town(question), code(question)

    graph = app.graph()
    assert graph.node("town").attrs["choices"] == ["Oslo", "Rome"]
    assert graph.node("code").attrs["regex"] == r"[A-C]-\d{3}(?:x|y)+"


def test_a_cut_answer_says_which_bounds_there_are() -> None:
    @tl.prompt(
        tl.LLM("fake:", replies={"": "one two three"}), regex="(?:one two three)", max_tokens=2
    )
    def counted() -> str:
        return "Count."

    @tl.app
    def app(question: str) -> str:
        return f"{question}{counted()}"

    with pytest.raises(OutputInvalid, match=r"Field\(max_length=...\).*ge= and le= for numbers"):
        app("x")
