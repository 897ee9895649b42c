"""Values as bytes and back."""

import enum
import threading
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel, SecretStr, TypeAdapter

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


class Perm(enum.Flag):
    READ = 1
    WRITE = 2


class Bits(enum.IntFlag):
    ONE = 1
    TWO = 2


class Swapped(BaseModel):
    a: int = Field(alias="b")
    b: int = Field(alias="a")


class Titled(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    name: str = Field(alias="title")
    title: str = "x"


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int

    @cached_property
    def lock(self) -> Any:
        return threading.Lock()


class Listed(RootModel[list[int]]):
    def __iter__(self) -> Any:  # as pydantic's documentation has it
        return iter(self.root)


T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    items: list[T]


class Slotted:
    __slots__ = ("kept",)


@dataclass
class Grown(Slotted):
    x: int = 1


class Coded(Exception):
    __slots__ = ("code",)


def grown() -> Grown:
    value = Grown(2)
    value.kept = "this too"
    return value


def opened() -> Open:
    value = Open.model_validate({"a": 1, "z": (2,)})
    assert value.lock
    return value


def says_the_same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and repr(one) == repr(other) and bool(one == other)


@pytest.mark.parametrize(
    "value",
    [
        Perm.READ | Perm.WRITE,
        Perm(0),
        Perm.READ,
        Bits.ONE | Bits.TWO,
        Bits(8),
        Swapped(a=1, b=2),
        Titled(name="N", title="T"),
        opened(),
        Listed([1, 2]),
        Page[int](items=[1]),
        Page[Report](items=[Report(title="a")]),
        datetime(2026, 10, 25, 2, 30, fold=1),
        datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=1), "CET")),
        datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-1, microseconds=3))),
        TypeAdapter(datetime).validate_python("2026-01-02T00:00:00Z"),
        PureWindowsPath("C:/a"),
        PurePosixPath("/a"),
        Doc("text", score=np.float32(0.5)),  # type: ignore[arg-type]
        np.str_("a\0"),
        np.str_(""),
        np.bytes_(b"a\0"),
        np.datetime64("2026-01-02"),
    ],
    ids=repr,
)
def test_nothing_of_a_value_is_lost(value: Any) -> None:
    assert says_the_same(decode(encode(value)), value)


@pytest.mark.skipif("Europe/Rome" not in available_timezones(), reason="no time zones here")
def test_a_time_keeps_its_zone() -> None:
    rome = ZoneInfo("Europe/Rome")
    noon = datetime(2026, 3, 28, 12, tzinfo=rome)
    for value in (noon, noon.replace(month=10, day=25, hour=2, fold=1), time(1, 2, tzinfo=rome)):
        again = decode(encode(value))
        assert says_the_same(again, value)
        assert again.tzinfo is rome


def test_what_an_object_holds_beside_its_fields_comes_back() -> None:
    again = decode(encode(grown()))
    assert (again, again.kept) == (Grown(2), "this too")
    error = Coded("no")
    error.code = 3
    error.add_note("look there")
    again = decode(encode(error))
    assert (again.code, again.__notes__) == (3, ["look there"])
    text = decode(encode(Doc(Chunk("passage")))).text
    assert type(text) is Chunk


@pytest.mark.parametrize("aligned", [False, True])
def test_an_array_with_named_fields_comes_back_with_them(aligned: bool) -> None:
    kind = np.dtype([("a", "i1"), ("b", "f8", (2,)), ("c", [("d", "U3")])], align=aligned)
    array = np.array([(1, (2.0, 3.0), ("x",))], kind)
    again, first = decode(encode([array, array[0]]))
    assert again.dtype == first.dtype == kind
    assert again["a"] == first["a"] == 1
    assert (again == array).all()


def test_a_field_that_a_model_got_since_has_its_default() -> None:
    data = encode(Report(title="a")).replace(b'"pages": ["list"]', b'"gone": 1')
    assert decode(data) == Report(title="a")


@dataclass
class Items(dict[str, int]):
    x: int = 1


@dataclass
class Row(list[int]):
    x: int = 1


class Named(Pair):
    pass


class Hidden(BaseModel):
    title: str
    _seen: int = 0


class Zone(tzinfo):
    def utcoffset(self, when: datetime | None) -> timedelta:
        return timedelta(hours=1)

    def dst(self, when: datetime | None) -> timedelta:
        return timedelta(0)


class Shadowed(BaseModel):
    title: str


Shadow = Shadowed


class Shadowed(BaseModel):  # type: ignore[no-redef]
    title: str


def named() -> Named:
    value = Named(1, "a")
    value.more = 1  # type: ignore[attr-defined]
    return value


@pytest.mark.parametrize(
    "value",
    [
        Items(),
        Row(),
        named(),
        Hidden(title="a"),
        datetime(2026, 1, 2, tzinfo=Zone()),
        Shadow(title="a"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_come_back_otherwise_is_refused(value: Any) -> None:
    with pytest.raises(NotStorable):
        decode(encode([value]))
