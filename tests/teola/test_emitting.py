"""A text is asked for in pieces only where somebody reads them."""

from collections.abc import Sequence

import pytest

import teola as tl
from backends.base import Outcome, Request
from backends.fake.llm import FakeLLM

llm = tl.LLM("fake:")


@tl.prompt(llm)
def hello(name: str) -> str:
    return f"Say hello to {name}."


@tl.app
def greet(name: str) -> str:
    return hello(name)


@tl.prompt(llm, out=list[str])
def names(count: int) -> str:
    return f"Write {count} names."


@tl.app
def greet_all(count: int) -> list[str]:
    return tl.map(hello, names(count))


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each decode, whether its pieces are wanted."""
    seen: list[bool] = []
    original = FakeLLM.execute

    async def execute(self: FakeLLM, requests: Sequence[Request]) -> list[Outcome]:
        seen.extend(request.emit is not None for request in requests if request.op == "decode")
        return await original(self, requests)

    monkeypatch.setattr(FakeLLM, "execute", execute)
    return seen


def test_nobody_listens_and_the_answer_comes_whole(streamed: list[bool]) -> None:
    assert greet.using(memo=False)("Ann")
    assert streamed == [False]


def test_a_listener_gets_pieces(streamed: list[bool]) -> None:
    kinds: list[str] = []
    greet.using(memo=False, listener=lambda event: kinds.append(event.kind))("Ann")
    assert streamed == [True]
    assert "text" in kinds


def test_a_stream_gives_pieces(streamed: list[bool]) -> None:
    assert any(event.kind == "text" for event in greet.using(memo=False).stream("Ann"))
    assert streamed == [True]


def test_a_list_that_a_map_reads_as_it_grows_comes_in_pieces(streamed: list[bool]) -> None:
    assert greet_all.using(memo=False)(2)
    assert streamed == [True, False, False]
