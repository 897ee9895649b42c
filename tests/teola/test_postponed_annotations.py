"""Annotations as texts, of this whole file, also with classes that are local to a test."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import pytest
from pydantic import BaseModel, Field

import teola as tl
from teola.errors import ArgumentError, DefinitionError

if TYPE_CHECKING:
    from decimal import Decimal

llm = tl.LLM("fake:", replies={"City": '{"name": "Oslo", "size": "large"}', "": "words"})


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class City(BaseModel):
    name: str
    size: Size = Size.SMALL


@tl.prompt(llm, out=City)
def find(text: str) -> str:
    return f"City in {text}"


@tl.tool
def grow(city: City) -> City:
    return city.model_copy(update={"size": Size.LARGE})


@tl.app
def grown(text: str, times: Annotated[int, Field(ge=1)] = 1, how: Literal["a", "b"] = "a") -> City:
    return grow(find(f"{text} {times} {how}"))


class Atlas:
    @tl.app
    def lookup(self, text: str, known: list[City] | None = None) -> City:
        return find(text)


def test_a_modules_types_are_found() -> None:
    assert grown("x") == City(name="Oslo", size=Size.LARGE)
    assert [parameter.is_static for parameter in grown.parameters] == [False, True, True]
    with pytest.raises(ArgumentError, match="'times': Input should be greater"):
        grown("x", times=0)
    assert Atlas().lookup("x", [City(name="a")]).name == "Oslo"


def test_local_classes_are_found_in_apps_tools_and_prompts() -> None:
    class Kind(enum.Enum):
        TOWN = "town"

    class Place(BaseModel):
        name: str
        kind: Kind = Kind.TOWN

    @tl.prompt(llm, out=Place)
    def look(text: str) -> str:
        return f"Where is {text}"

    @tl.tool
    def same(place: Place, others: list[Place]) -> Place:
        return others[0] if others else place

    @tl.app
    def app(text: str, place: Place, kind: Kind = Kind.TOWN) -> Place:
        with_text = same(place, [place])
        return same(place, [with_text]) if kind is Kind.TOWN else place

    @tl.app
    async def steps(places: list[Place]) -> str:
        place = await tl.value(same(places[0], []))
        return f"{place.name} {place.kind.value}"

    checked: Any = {"name": "Rome"}
    assert app("x", checked) == Place(name="Rome")
    assert steps([checked]) == "Rome town"
    with pytest.raises(ArgumentError, match="'place'.name: Field required"):
        app("x", {})  # type: ignore[arg-type]
    with tl.fake(llm, Place(name="Lima")):
        assert tl.Agent("guide", llm, out=Place)("where?") == Place(name="Lima")

        @tl.app
        def named(text: str) -> str:
            return look(text).name

        assert named("x") == "Lima"


def test_a_tools_result_type_is_known_after_its_function_has_returned() -> None:
    def made() -> Any:
        class Pair(NamedTuple):
            left: str
            right: int

        @dataclass
        class Box:
            pair: Pair
            label: str = ""

        @tl.tool
        def box(text: str) -> Box:
            return Box(Pair(text, 3))

        @tl.app
        def app(text: str) -> list[Any]:
            return [box(text).label, box(text).pair.right]

        @tl.tool
        def listed(text: str) -> list[Pair]:
            return [Pair(text, 1), Pair(text, 2)]

        @tl.app
        def mapped(text: str) -> list[int]:
            return tl.map(lambda pair: pair.right, listed(text))

        return mapped, app

    mapped, app = made()
    assert mapped("x") == [1, 2]
    assert app("x") == ["", 3]


def test_programs_take_types_as_texts() -> None:
    @tl.program(llm)
    def chat(s: tl.State, question: str, n: int = 2) -> str:
        s += tl.user(question)
        s += tl.gen("answer", max_tokens=n)
        return s["answer"]

    assert chat("hello") == "words"


def test_texts_inside_of_types_are_read_too() -> None:
    class Item(BaseModel):
        text: str

    @tl.app
    def app(items: list["Item"], one: "Item | None" = None) -> "list[Item]":  # noqa: UP037
        return items

    given: Any = [{"text": "a"}]
    assert app(given) == [Item(text="a")]


def test_a_name_that_is_nowhere_says_where_to_put_it() -> None:
    with pytest.raises(DefinitionError, match=r"'Decimal' is not defined; define or import it abo"):

        @tl.app
        def app(amount: Decimal) -> str:
            return "x"
