"""Metadata filters."""

from typing import Any

import pytest

from backends.errors import RequestRejected
from backends.store.where import compile_where

METADATA = {"lang": "en", "year": 2020, "tags": ["a"], "none": None}


def holds(where: dict[str, Any]) -> bool:
    predicate = compile_where(where)
    assert predicate is not None
    return predicate(METADATA)


@pytest.mark.parametrize(
    "where",
    [
        {"lang": "en"},
        {"lang": "en", "year": 2020},
        {"year": {"ge": 2020}},
        {"year": {"gt": 2019, "lt": 2021}},
        {"year": {"le": 2020}},
        {"lang": {"in": ["de", "en"]}},
        {"lang": {"in": {"en"}}},
        {"lang": {"ne": "de"}},
        {"missing": {"ne": 1}},
        {"none": None},
        {"tags": ["a"]},
    ],
)
def test_these_hold(where: dict[str, Any]) -> None:
    assert holds(where)


@pytest.mark.parametrize(
    "where",
    [
        {"lang": "de"},
        {"lang": "en", "year": 1},
        {"year": {"gt": 2020}},
        {"year": {"ge": 2019, "lt": 2020}},
        {"lang": {"in": []}},
        {"lang": {"ne": "en"}},
        {"missing": None},
        {"missing": {"ge": 0}},
        {"lang": {"ge": 3}},
        {"tags": {"in": ["a"]}},
    ],
)
def test_these_do_not(where: dict[str, Any]) -> None:
    assert not holds(where)


def test_an_unknown_operator_names_the_known_ones() -> None:
    with pytest.raises(
        RequestRejected, match=r"'year': unknown operator 'above'; known: in, ne, ge"
    ):
        compile_where({"year": {"above": 3}})


@pytest.mark.parametrize("where", ["lang", {"lang": {"in": "en"}}, {"lang": {"in": 3}}])
def test_a_malformed_filter_is_rejected(where: Any) -> None:
    with pytest.raises(RequestRejected):
        compile_where(where)


@pytest.mark.parametrize("where", [None, {}, {"lang": {}}])
def test_no_filter_is_no_predicate(where: Any) -> None:
    assert compile_where(where) is None
