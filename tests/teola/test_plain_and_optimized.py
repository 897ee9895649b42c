"""What an app means does not depend on whether it is optimised: effects, failures, validators."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, StringConstraints, field_validator, model_validator

import teola as tl
from teola.errors import QueryError

llm = tl.LLM("fake:", replies={"list": '{"queries":["  B ","a","  B ","c"]}'})
sent: list[str] = []
ticks: list[int] = []


@tl.tool
def send(text: str) -> str:
    sent.append(text)
    return text


@tl.tool(pure=True)
def check(text: str) -> str:
    raise ValueError(f"{text} is not allowed")


@tl.tool(pure=True)
def mark(text: str) -> str:
    return f"<{text}>"


@tl.tool(reads=True)
def clock() -> int:
    ticks.append(len(ticks))
    return ticks[-1]


def both(app: Any, *args: Any) -> list[Any]:
    """What the plain and the optimised run give, or why they fail, each with what was sent."""
    outcomes: list[Any] = []
    for run in (app.using(optimize=False, memo=False), app.using(memo=False)):
        sent.clear()
        try:
            result = run(*args)
        except QueryError as error:
            result = str(error)
        outcomes.append((result, [*sent]))
    return outcomes


def test_nothing_is_sent_past_a_check_that_fails() -> None:
    @tl.app
    def guarded(text: str) -> list[str]:
        return [check(text), send(text)]

    plain, optimized = both(guarded, "x")
    assert plain == optimized
    assert "x is not allowed" in plain[0]
    assert plain[1] == []


def test_nothing_is_sent_past_a_field_that_is_missing() -> None:
    @tl.prompt(llm, out=dict[str, list[str]])
    def lists(text: str) -> str:
        return f"list {text}"

    @tl.app
    def guarded(text: str) -> list[Any]:
        missing = lists(text)["nothing"]
        return [missing, send(text)]

    plain, optimized = both(guarded, "x")
    assert plain == optimized
    assert plain[1] == []


def test_what_was_sent_before_a_failure_stays_sent() -> None:
    @tl.app
    def late(text: str) -> list[str]:
        return [send("first"), check(text), send("second")]

    plain, optimized = both(late, "x")
    assert plain == optimized
    assert plain[1] == ["first"]


def test_a_guard_whose_value_nobody_uses_holds_effects_back() -> None:
    @tl.app
    def app(text: str) -> str:
        check(text)
        return send(text)

    plain, optimized = both(app, "x")
    assert plain == optimized
    assert "is not allowed" in plain[0]
    assert plain[1] == []


def test_an_effect_whose_value_nobody_uses_happens() -> None:
    @tl.app
    def app(text: str) -> str:
        send("unused")
        return send(text)

    assert both(app, "x") == [("x", ["unused", "x"])] * 2


def test_each_of_two_looks_at_the_world_is_taken() -> None:
    @tl.app
    def app(text: str) -> list[Any]:
        return [clock(), mark(text), clock()]

    for (first, _, second), _ in both(app, "x"):
        assert first != second


class Stripped(BaseModel):
    queries: list[Annotated[str, StringConstraints(strip_whitespace=True)]]


class Unique(BaseModel):
    queries: list[str]

    @field_validator("queries")
    @classmethod
    def unique(cls, queries: list[str]) -> list[str]:
        return sorted({query.strip() for query in queries})


class TopTwo(BaseModel):
    queries: list[str]

    @model_validator(mode="after")
    def top(self) -> "TopTwo":
        self.queries = self.queries[:2]
        return self


def _mapping(type_: type[Any]) -> Callable[[str], list[str]]:
    @tl.prompt(llm, out=type_)
    def write(text: str) -> str:
        return f"list {text}"

    @tl.app
    def app(text: str) -> list[str]:
        return tl.map(mark, write(text).queries)

    return app


@pytest.mark.parametrize(
    ("type_", "marked", "is_streamed"),
    [
        (Stripped, ["<B>", "<a>", "<B>", "<c>"], True),
        (Unique, ["<B>", "<a>", "<c>"], False),
        (TopTwo, ["<  B >", "<a>"], False),
    ],
)
def test_a_list_is_what_its_model_makes_of_it_and_streams_only_where_that_is_known(
    type_: type[Any], marked: list[str], is_streamed: bool
) -> None:
    app: Any = _mapping(type_)
    assert both(app, "x") == [(marked, [])] * 2
    assert ("elements ~%" in app.explain()) is is_streamed


def test_a_list_that_is_the_whole_answer_is_used_item_by_item() -> None:
    words = tl.LLM("fake:", replies={"words": '["a","b"]'})

    @tl.prompt(words, out=list[str])
    def write(text: str) -> str:
        return f"words {text}"

    @tl.app
    def app(text: str) -> list[str]:
        return tl.map(mark, write(text))

    assert both(app, "x") == [(["<a>", "<b>"], [])] * 2
    assert "elements ~%" in app.explain()
