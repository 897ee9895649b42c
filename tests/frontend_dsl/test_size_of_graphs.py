"""A graph that a loop of Python's makes too large is refused at the line that makes it so."""

from pathlib import Path

import pytest

import teola as tl
from frontend_dsl import tracer

llm = tl.LLM("fake:", replies={"": "yes"})


@tl.prompt(llm, max_tokens=4)
def say(text: str) -> str:
    return f"Say {text}"


@tl.app
def unrolled(text: str, n: int) -> list[str]:
    return [say(f"{text} {i}") for i in range(n)]


@tl.app
def inside(texts: list[str], n: int) -> list[list[str]]:
    return tl.map(lambda text: [say(f"{text} {i}") for i in range(n)], texts)


@tl.app
async def issued(text: str, n: int) -> list[str]:
    return [say(f"{text} {i}") for i in range(n)]


@tl.app
async def awaited(text: str, n: int) -> list[str]:
    return [await tl.value(say(f"{text} {i}")) for i in range(n)]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracer, "MAX_PRIMITIVES", 60)


def test_a_loop_that_is_unrolled_without_end_is_refused_with_its_line() -> None:
    with pytest.raises(tl.errors.TraceError, match=r"tl\.map for the items of a list") as found:
        unrolled("x", n=10**9)
    assert Path(found.value.file).name == Path(__file__).name
    assert "[say(f" in str(found.value)


def test_the_bodies_of_a_graph_count_too() -> None:
    with pytest.raises(tl.errors.TraceError, match="more than"):
        inside(["x"], n=10**9)


def test_a_segment_of_an_async_app_is_bounded_and_one_that_awaits_is_not() -> None:
    with pytest.raises(tl.errors.TraceError, match="more than"):
        issued("x", n=10**9)
    assert awaited("x", n=50) == ["yes"] * 50


def test_what_is_below_the_limit_is_traced() -> None:
    assert unrolled("x", n=10) == ["yes"] * 10
