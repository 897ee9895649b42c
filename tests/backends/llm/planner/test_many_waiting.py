"""Thousands of requests wait at an engine: a step does not look at each of them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from backends.llm.planner import policies
from backends.place import Left, Place
from backends.policy.shortest_remaining import shortest_remaining

Make = Callable[..., Any]


def crowd(engine: Make, count: int) -> Any:
    """An engine with four seats at which so many wait, each with more left than the one before."""
    driven = engine(policy="shortest_remaining", max_running=4, patience_ms=10**6)
    for number in range(count):
        asked(driven, f"q{number}", 10.0 + number)
    return driven


def asked(driven: Any, query: str, left_s: float) -> Any:
    sequence = driven.add([driven.num_added % 250] * 4, num_output=400)
    sequence.request.place = Place(query, left_s, left=Left(left_s))
    return sequence


def ranks_a_step(engine: Make, count: int, monkeypatch: pytest.MonkeyPatch) -> float:
    """How often the policy is asked for a rank in a step in which one request comes."""
    num_ranks = 0

    def rank(ticket: Any) -> Any:
        nonlocal num_ranks
        num_ranks += 1
        return shortest_remaining.rank(ticket)

    counted = replace(shortest_remaining, rank=rank)
    monkeypatch.setattr(policies, "POLICIES", {"shortest_remaining": counted})
    driven = crowd(engine, count)
    driven.core.step()
    num_ranks = 0
    for number in range(64):
        asked(driven, f"late{number}", 5.0 - number / 100)
        driven.core.step()
    return num_ranks / 64


def test_what_a_step_costs_does_not_grow_with_all_that_wait(
    engine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ranks_a_step(engine, 200, monkeypatch)
    assert 0 < few < 3
    assert ranks_a_step(engine, 2000, monkeypatch) == few


def test_an_urgent_request_that_comes_late_goes_first_all_the_same(engine: Make) -> None:
    driven = crowd(engine, 1500)
    driven.step(3)
    urgent = asked(driven, "urgent", 1.0)
    for _ in range(4):
        driven.step()
        assert driven.tokens(urgent) > 0


def test_one_that_waits_goes_first_as_soon_as_little_is_left_of_its_query(engine: Make) -> None:
    driven = crowd(engine, 1500)
    late = driven.planner.waiting[-1]
    driven.step(3)
    late.request.place.left.work_s = 1.0
    driven.step()
    assert driven.tokens(late) > 0
