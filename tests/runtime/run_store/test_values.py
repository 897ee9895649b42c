"""Values as bytes and back."""

import enum
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from backends.base import Chunk, Turn
from backends.documents import Doc, Index
from backends.errors import EngineOverloaded
from runtime.chunked_text import ChunkedText
from runtime.run_store.kept_errors import decode_error, encode_error
from runtime.run_store.values import NotStorable, decode, encode


class Color(enum.Enum):
    RED = 1


class Report(BaseModel):
    title: str
    pages: list[int] = []


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: Any = None


class Pair(NamedTuple):
    left: int
    right: str


class Odd(Exception):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(f"{why} ({code})")
        self.code = code


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars | st.binary() | st.decimals(allow_nan=False) | st.dates() | st.uuids(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.frozensets(scalars)
    ),
    max_leaves=20,
)


@given(values)
def test_a_value_comes_back_equal_and_of_its_type(value: Any) -> None:
    again = decode(encode(value))
    assert again == value
    assert type(again) is type(value)
    assert encode(again) == encode(value)


@pytest.mark.parametrize(
    "value",
    [
        Color.RED,
        Report(title="a"),
        Point(1, [Point(2), {"k": Pair(1, "b")}]),
        Doc("text", "id", 0.5, {"page": 3}),
        Index("c", ("a", "b")),
        Chunk("passage"),
        Turn("user"),
        Path("/tmp/x"),
        {1: {2, 3}},
        datetime(2026, 1, 2, tzinfo=UTC),
        date(2026, 1, 2),
        timedelta(days=1, seconds=3),
        Decimal("1.50"),
        UUID(int=7),
        complex(1, 2),
    ],
)
def test_what_apps_pass_around_comes_back(value: Any) -> None:
    again = decode(encode(value))
    assert again == value
    assert type(again) is type(value)


def test_a_model_remembers_which_fields_were_given() -> None:
    assert decode(encode(Report(title="a"))).model_fields_set == {"title"}


def test_a_chunked_text_keeps_its_chunks() -> None:
    text = ChunkedText(["a ", Chunk("passage"), " b"])
    again = decode(encode(text))
    assert again == text
    assert [type(part) for part in again.parts] == [str, Chunk, str]


def test_an_array_comes_back_with_its_type_and_shape() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    again = decode(encode({"vectors": array, "one": array[0, 1]}))
    assert (again["vectors"] == array).all()
    assert again["vectors"].dtype == np.float32
    assert again["one"] == np.float32(1)


@pytest.mark.parametrize("error", [ValueError("no", 3), EngineOverloaded("full", 2.5), Odd(3, "x")])
def test_an_exception_comes_back_without_running_its_class(error: Exception) -> None:
    again = decode(encode(error))
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))


@pytest.mark.usefixtures("no_collection")
def test_what_has_no_content_is_refused() -> None:
    class Local:
        pass

    itself: list[Any] = []
    itself.append(itself)
    for value in (Local(), Local, print, SecretStr("key"), itself, np.array([object()])):
        with pytest.raises(NotStorable):
            encode({"in": [value]})


def test_a_class_that_is_gone_is_said() -> None:
    data = encode(Point(1)).replace(b"Point", b"Gone")
    with pytest.raises(NotStorable, match="Gone is not there any more"):
        decode(data)


def test_equal_sets_have_equal_bytes() -> None:
    assert encode({"b", "a", "c"}) == encode({"c", "b", "a"})


@dataclass
class Unset:
    x: int = field(init=False)


class Mute(Exception):
    def __str__(self) -> str:
        raise LookupError("it says nothing")


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("value", [Unset(), 10**5000, nested(5000)], ids=["unset", "long", "deep"])
def test_a_value_that_cannot_be_looked_through_is_refused(value: Any) -> None:
    with pytest.raises(NotStorable):
        encode(value)


@pytest.mark.parametrize(
    "error",
    [ValueError(10**5000), ValueError(Unset()), Mute(Unset())],
    ids=["long", "unset", "mute"],
)
def test_an_exception_that_cannot_even_be_said_is_kept_by_its_type(error: Exception) -> None:
    again = decode_error(encode_error(error))
    assert type(error).__name__ in str(again)


def test_what_is_damaged_is_said_in_one_way() -> None:
    for data in (b"", b"{", b"[]", b'["enum", "a"]', b"\xff"):
        with pytest.raises(NotStorable):
            decode(data)
