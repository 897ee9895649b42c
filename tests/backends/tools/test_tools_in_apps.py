"""Tools that call apps whose tools run on the same engine."""

import threading
from typing import Any

import pytest

import teola as tl
from teola.errors import QueryTimeout

WORDS = [f"word {i}" for i in range(40)]


@tl.tool(pure=True)
def shout(word: str) -> str:
    return word.upper()


@tl.app
def inner(word: str) -> str:
    return shout(word)


@tl.tool(pure=True)
def call_inner(word: str) -> str:
    return inner(word)


@tl.tool(pure=True)
async def await_inner(word: str) -> str:
    return await inner.arun(word)


@tl.app
def by_calling(words: list[str]) -> list[str]:
    return tl.map(lambda word: call_inner(word), words)


@tl.app
def by_awaiting(words: list[str]) -> list[str]:
    return tl.map(lambda word: await_inner(word), words)


@tl.tool(pure=True)
def call_outer(words: list[str]) -> list[str]:
    return by_calling(words)


@tl.app
def three_deep(rows: list[list[str]]) -> list[list[str]]:
    return tl.map(lambda words: call_outer(words), rows)


@pytest.mark.parametrize("app", [by_calling, by_awaiting], ids=["sync", "async"])
def test_many_tools_at_once_may_call_apps_that_call_tools(app: Any) -> None:
    assert app.using(timeout_s=30)(WORDS) == [word.upper() for word in WORDS]
    assert inner.using(timeout_s=30)("and after") == "AND AFTER"


def test_apps_within_tools_within_apps_within_tools() -> None:
    rows = [WORDS[:9]] * 9
    assert three_deep.using(timeout_s=30)(rows) == [[w.upper() for w in words] for words in rows]


def test_timed_out_tools_leave_other_tools_working() -> None:
    may_end = threading.Event()

    @tl.tool(pure=True)
    def hang(word: str) -> str:
        may_end.wait(30)
        return word

    @tl.app
    def stuck(words: list[str]) -> list[str]:
        return tl.map(lambda word: hang(word), words)

    try:
        with pytest.raises(QueryTimeout):
            stuck.using(timeout_s=0.1)(WORDS)
        assert inner.using(timeout_s=20)("quick") == "QUICK"
    finally:
        may_end.set()
