"""Content digests: equal for equal values, different for all others."""

import enum
import subprocess
import sys
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, PrivateAttr

from backends.base import Turn
from backends.documents import Doc, Index
from runtime.memo.content import NoContent, digest


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Point(BaseModel):
    x: int
    y: int = 0


@dataclass(frozen=True)
class Pair:
    left: object
    right: object


VALUES = [
    "",
    "1",
    b"1",
    1,
    1.0,
    True,
    None,
    [],
    (),
    {},
    ["ab", "c"],
    ["a", "bc"],
    ["a", ["bc"]],
    ("a", "bc"),
    {"a": 1},
    {"a": 1, "b": 2},
    {"b": 2, "a": 1},
    {1: "a"},
    Colour.RED,
    Colour.GREEN,
    Point(x=1),
    Point(x=1, y=0),  # says more: see `exclude_unset`
    Point(x=1, y=1),
    Pair(1, 2),
    Pair(2, 1),
    Doc("a"),
    Doc("", "a"),
    Doc("a", score=1.0),
    Doc("a", metadata={"k": "v"}),
    Index("s", ("a",)),
    Index("s", ()),
    Index("s"),
    Turn("user"),
    Turn("assistant"),
    "user",
    np.zeros(2, np.float32),
    np.zeros((2, 1), np.float32),
    np.zeros(2, np.float64),
]


def test_different_values_have_different_digests() -> None:
    digests = [digest(value) for value in VALUES]
    assert len(set(digests)) == len(VALUES)


def test_equal_values_have_equal_digests() -> None:
    assert digest(Point(x=1), ["a", Doc("t", "i")]) == digest(Point(x=1), ["a", Doc("t", "i")])


TEXTS = st.recursive(st.text(max_size=3), lambda inner: st.lists(inner, max_size=3), max_leaves=6)


@given(left=TEXTS, right=TEXTS)
def test_digests_are_equal_just_where_values_are(left: object, right: object) -> None:
    assert (digest(left) == digest(right)) == (left == right)


def test_a_value_that_nobody_can_tell_the_content_of_has_none() -> None:
    with pytest.raises(NoContent, match="object has no content digest"):
        digest(["a", object()])
    with pytest.raises(NoContent, match="array of objects"):
        digest(np.array([object()]))


def test_a_digest_is_the_same_in_another_process() -> None:
    code = "from runtime.memo.content import digest; print(digest({'b': [1, 'x'], 'a': 2.5}).hex())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == digest({"b": [1, "x"], "a": 2.5}).hex()


def scaling(factor: int) -> type:
    @dataclass
    class Scaled:
        x: int

        def area(self) -> int:
            return self.x * factor

    return Scaled


def test_a_class_that_was_defined_again_makes_other_values() -> None:
    first, again = scaling(1), scaling(2)
    assert digest(first(3)) == digest(first(3)) != digest(again(3))


class Secretive(BaseModel):
    x: int = 0
    _hidden: int = PrivateAttr(default=0)


def test_all_that_a_tool_can_tell_apart_counts() -> None:
    hiding, extended, plain = Secretive(), Pair(1, 2), Pair(1, 2)
    hiding._hidden = 1
    object.__setattr__(extended, "more", 3)
    assert len({digest(value) for value in (Secretive(), Secretive(x=0), hiding)}) == 3
    assert digest(extended) != digest(plain)


@dataclass
class Unset:
    x: int = field(init=False)


@pytest.mark.parametrize("value", [Unset(), 10**5000], ids=["unset", "long"])
def test_a_value_that_cannot_be_looked_through_has_no_digest(value: object) -> None:
    with pytest.raises(NoContent, match="cannot be looked through"):
        digest([value])
