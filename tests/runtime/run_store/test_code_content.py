"""What tells functions apart in every process."""

import re
import subprocess
import sys
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import cmp_to_key
from itertools import repeat
from operator import attrgetter, itemgetter
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import create_model

import teola as tl
from runtime.memo.functions import added_to
from runtime.run_store.code_content import MOST_VALUES, code_content
from runtime.run_store.values import NotStorable

WORD = re.compile("[a-z]+")


def adding(n: Any) -> Callable[[Any], Any]:
    def add(x: Any) -> Any:
        return x + n

    return add


def with_default(n: int) -> Callable[[int], int]:
    def add(x: int, by: int = n) -> int:
        return x + by

    return add


def calling(inner: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def call(x: Any) -> Any:
        return inner(x)

    return call


class Box:
    __slots__ = ("n",)

    def __init__(self, n: int) -> None:
        self.n = n

    @property
    def twice(self) -> int:
        return self.n * 2

    def __getitem__(self, x: int) -> int:
        return self.n + x


@dataclass
class Scale:
    factor: int


def reading(what: Any) -> list[Callable[[Any], Any]]:
    return [lambda x: what.twice + x, lambda x: what[x], lambda x: (what, x)]


@pytest.mark.parametrize(
    "make",
    [
        adding,
        with_default,
        lambda n: calling(adding(n)),
        lambda n: adding({"by": [n]}),
        lambda n: adding({n, 5}),
        lambda n: adding(np.array([n])),
        lambda n: calling(Scale(n).__eq__),
        lambda n: reading(Box(n))[0],
        lambda n: reading(Box(n))[1],
        lambda n: calling(tl.tool(adding(n))),
        lambda n: adding(re.compile(str(n))),
        lambda n: calling([np.sqrt, np.exp][n - 1]),
        lambda n: reading(Box(n))[2],
        lambda n: adding(create_model("Sized", size=(int, n))),
        lambda n: adding(Enum("Size", {"ONE": n})),
    ],
)
def test_functions_of_one_factory_are_told_by_what_it_gave_them(
    make: Callable[[int], Callable[[Any], Any]],
) -> None:
    assert code_content(make(1)) == code_content(make(1)) != code_content(make(2))


HELD_BY_C = [
    (itemgetter(0), itemgetter(1)),
    (attrgetter("a"), attrgetter("b")),
    (Random(1), Random(2)),
    (SimpleNamespace(a=1), SimpleNamespace(a=2)),
    (defaultdict(int), defaultdict(list)),
    (deque([1], 1), deque([1], 2)),
    (re.compile("a").match, re.compile("b").match),
    ({"k": 1}.get, {"k": 2}.get),
    ("ab".upper, "cd".upper),
    ((1).__add__, (2).__add__),
    (cmp_to_key(lambda a, b: a - b), cmp_to_key(lambda a, b: b - a)),
    (repeat(1), repeat(2)),
    (np.random.default_rng(1), np.random.default_rng(2)),
]


@pytest.mark.parametrize("pair", HELD_BY_C, ids=[type(one).__name__ for one, _ in HELD_BY_C])
def test_what_holds_something_else_is_told_apart_or_not_at_all(pair: tuple[Any, Any]) -> None:
    told = []
    for held in pair:
        with suppress(NotStorable):
            told.append(code_content(adding(held)))
    assert len(told) == len(set(told)) != 1


def test_a_function_reads_what_the_functions_behind_it_read() -> None:
    one, two = adding(1), adding(2)

    def ordered() -> Any:
        return one(1) - two(1)

    before = code_content(ordered)
    one, two = two, one
    assert code_content(ordered) != before


def test_a_function_that_calls_itself_has_an_end() -> None:
    def down(n: int) -> int:
        return n and down(n - 1)

    assert code_content(down) == code_content(down)


def test_a_journal_is_nothing_that_a_function_reads() -> None:
    ran: list[str] = []

    def noted(x: str) -> str:
        ran.append(x)
        return x

    before = code_content(noted)
    noted("a")
    assert code_content(noted) == before


def test_only_what_a_function_adds_to_is_a_journal() -> None:
    ran: list[int] = []

    def scoring(weights: list[int]) -> Any:
        def score(x: int) -> list[int]:
            found = []
            for weight in weights:
                found.append(x * weight)  # noqa: PERF401 - what it is about
            ran.append(x)
            seen = set()
            [seen.add(x) for x in weights]
            return found

        return score

    first, other = scoring([1, 2]), scoring([10, 20])
    before = code_content(first)
    assert code_content(other) != before
    first(5)
    assert code_content(first) == before
    assert added_to(first.__code__) == {"ran"}


class Scorer:
    def __init__(self, weights: list[int]) -> None:
        self.weights = weights
        self.ran: list[int] = []

    def score(self, x: int) -> list[int]:
        self.ran.append(x)
        return [x * weight for weight in self.weights]


def test_an_objects_journal_is_not_what_it_reads_else() -> None:
    scorer = Scorer([1, 2])
    before = code_content(scorer.score)
    scorer.score(3)
    assert code_content(scorer.score) == before
    assert code_content(Scorer([3]).score) != before


@pytest.mark.parametrize("what", [iter([1]), {object()}, [[n] for n in range(MOST_VALUES)]])
def test_what_cannot_be_told_is_said(what: Any) -> None:
    with pytest.raises(NotStorable):
        code_content(adding(what))


TOLD = """
import re
WORD = re.compile("[a-z]+")
KINDS = {"alpha", "beta", "gamma"}
class Table:
    rows = {"a": 1}
    def row(self, x): return self.rows[x] if x in {"a", "b", "c", "d"} else None
table = Table()
def read(x, *, by={"p", "q", "r"}): return table.row(x), WORD.match(x), x in KINDS, x in by
from runtime.run_store.code_content import code_content
print(code_content(read).hex())
"""


def test_a_function_is_the_same_in_another_process() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", TOLD],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
    assert len(found.pop()) > 100
