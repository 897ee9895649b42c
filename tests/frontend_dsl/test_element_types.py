"""Which lists may be used item by item, by their declared types."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID, uuid4

import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    StringConstraints,
    ValidationInfo,
    WrapValidator,
    field_validator,
    model_validator,
)

from frontend_dsl.element_types import element_type

Strict = ConfigDict(strict=True)
Short = Annotated[str, StringConstraints(strip_whitespace=True, max_length=3)]


class Step(BaseModel):
    title: str = Field(alias="name")
    notes: list[str] = []


class Plain(BaseModel):
    words: list[Short]
    steps: Annotated[list[Step], Field(min_length=1, max_length=9)] = Field(alias="todo")
    ids: list[UUID] = Field(default_factory=lambda: [uuid4()])


class Around(BaseModel):
    inner: Plain


class Tree(BaseModel):
    name: str
    children: list["Tree"]


@pytest.mark.parametrize(
    ("type_", "path", "keys", "json", "item"),
    [
        (Plain, ("words",), ("words",), '" a\\n "', "a"),
        (Plain, ("steps",), ("todo",), '{"name": "x"}', Step(name="x")),
        (Around, ("inner", "steps"), ("inner", "todo"), '{"name": "x"}', Step(name="x")),
        (Plain, ("ids",), ("ids",), f'"{UUID(int=1)}"', UUID(int=1)),
        (list[int], (), (), '"12"', 12),
        (list, (), (), '{"a": [1.5]}', {"a": [1.5]}),
        (
            Tree,
            ("children",),
            ("children",),
            '{"name": "a", "children": [{"name": "b", "children": []}]}',
            Tree(name="a", children=[Tree(name="b", children=[])]),
        ),
    ],
)
def test_an_item_is_read_as_in_the_whole(
    type_: Any, path: tuple[str, ...], keys: tuple[str, ...], json: str, item: object
) -> None:
    found = element_type(type_, path)
    assert found is not None
    assert found.keys == keys
    assert found.read(json) == item


@pytest.mark.parametrize("json", ['"long"', "5"])
def test_limits_and_types_of_items_count(json: str) -> None:
    found = element_type(Plain, ("words",))
    assert found is not None
    with pytest.raises(ValueError, match="words|string|str"):
        found.read(json)


def test_a_strict_model_reads_its_items_strictly() -> None:
    class Numbers(BaseModel):
        model_config = Strict
        numbers: list[int]

    found = element_type(Numbers, ("numbers",))
    assert found is not None
    assert found.read("12") == 12
    with pytest.raises(ValueError, match="valid integer"):
        found.read('"12"')


def test_the_same_list_has_the_same_reader_each_time() -> None:
    assert element_type(Plain, ("words",)) is element_type(Plain, ("words",))


def sort(words: list[str]) -> list[str]:
    return sorted(words)


def through(value: Any, read: Callable[[Any], Any]) -> Any:
    return read(value)


class OfField(BaseModel):
    words: list[str]
    _sort = field_validator("words")(sort)


class OfModel(BaseModel):
    words: list[str]

    @model_validator(mode="after")
    def two(self) -> "OfModel":
        self.words = self.words[:2]
        return self


class BeforeModel(BaseModel):
    words: list[str]

    @model_validator(mode="before")
    @classmethod
    def swap(cls, given: Any) -> Any:
        return {"words": given["other"]}


class AroundField(BaseModel):
    inner: OfModel


class OfSibling(BaseModel):
    words: list[str]
    rest: str

    @field_validator("rest")
    @classmethod
    def clear(cls, rest: str, info: ValidationInfo) -> str:
        info.data["words"].clear()
        return rest


class ItemsThatLookAround(BaseModel):
    most: int
    words: list[Annotated[str, AfterValidator(lambda word, info: word[: info.data["most"]])]]


class PostInit(BaseModel):
    words: list[str]

    def model_post_init(self, context: Any, /) -> None:
        self.words.sort()


class OwnInit(BaseModel):
    words: list[str]

    def __init__(self, words: list[str]) -> None:
        super().__init__(words=sort(words))


class OnError(BaseModel):
    words: Annotated[list[str], WrapValidator(through)]
    tags: Annotated[list[str], AfterValidator(sort)]
    early: Annotated[list[str], BeforeValidator(sort)]
    maybe: list[str] | None
    pair: tuple[str, ...]
    once: set[str]
    many: Sequence[str]
    either: list[str] = Field(validation_alias=AliasChoices("a", "b"))
    text: str


class ByName(BaseModel):
    model_config = ConfigDict(validate_by_name=True)
    words: list[str] = Field(alias="w")


class FromOthers(BaseModel):
    words: list[str]
    rest: list[str] = Field(default_factory=lambda known: known["words"][::-1])


class Root(RootModel[list[str]]):
    pass


@dataclass
class Record:
    words: list[str]


@pytest.mark.parametrize(
    ("type_", "path"),
    [
        (OfField, ("words",)),
        (OfModel, ("words",)),
        (BeforeModel, ("words",)),
        (AroundField, ("inner", "words")),
        (OfSibling, ("words",)),
        (ItemsThatLookAround, ("words",)),
        (PostInit, ("words",)),
        (OwnInit, ("words",)),
        *((OnError, (name,)) for name in OnError.model_fields),
        (ByName, ("words",)),
        (FromOthers, ("words",)),
        (Root, ("root",)),
        (Record, ("words",)),
        (dict[str, list[str]], ("words",)),
        (Annotated[list[str], AfterValidator(sort)], ()),
        (Annotated[list[str], []], ()),
        (tuple[str, ...], ()),
        (Plain, ("nothing",)),
        (Plain, ("steps", 0, "notes")),
    ],
)
def test_what_may_change_a_list_later_makes_it_read_whole(
    type_: Any, path: tuple[str, ...]
) -> None:
    assert element_type(type_, path) is None
