"""Tools: their arguments are checked when traced; methods, callables and classes are tools too."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

import teola as tl
from frontend_dsl.errors import DefinitionError
from teola.errors import TraceError


@tl.tool(pure=True)
def search(query: str, *, k: int = 3) -> list[str]:
    return [query] * k


@tl.tool(reads=True)
def clock(label: str) -> str:
    return f"{label} {len(ticks)}"


@tl.tool
def tick(label: str) -> str:
    ticks.append(label)
    return label


ticks: list[str] = []


WRONG: dict[str, Any] = {
    "keyword": lambda q: search(q, n=2),
    "too many": lambda q: search(q, 2),
    "missing": lambda q: search(),
    "twice": lambda q: search(q, query=q),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_arguments_are_told_with_the_signature_and_the_line(what: str) -> None:
    @tl.app
    def app(question: str) -> Any:
        return WRONG[what](question)

    with pytest.raises(TraceError, match=r"search\(query: str, \*, k: int = 3\)") as caught:
        app.graph()
    assert caught.value.file.endswith("test_tools.py")


def test_a_tool_that_reads_the_world_keeps_its_place_among_those_that_change_it() -> None:
    @tl.app
    def app(question: str) -> list[str]:
        return [clock(question), tick(question), clock(question)]

    node = app.graph().node("clock")
    assert (node.attrs["reads"], node.attrs["pure"]) == (True, True)
    for optimize in (True, False):
        ticks.clear()
        assert app.using(optimize=optimize)("a") == ["a 0", "a", "a 1"]


@dataclass
class Library:
    books: list[str]

    @tl.tool(pure=True)
    def find(self, word: str, *, most: int = 1) -> list[str]:
        return [book for book in self.books if word in book][:most]

    @tl.tool
    async def lend(self, book: str) -> str:
        await asyncio.sleep(0)
        self.books.remove(book)
        return f"lent {book}"

    @staticmethod
    @tl.tool(pure=True)
    def shout(text: str) -> str:
        return text.upper()

    @classmethod
    @tl.tool(pure=True)
    def kind(cls, text: str) -> str:
        return f"{cls.__name__} {text}"

    def __call__(self, word: str) -> int:
        return sum(word in book for book in self.books)


@pytest.mark.parametrize("optimize", [True, False])
def test_a_method_is_a_tool_of_its_object(optimize: bool) -> None:
    library, other = Library(["sea", "seal"]), Library(["seed"])

    @tl.app
    def app(word: str) -> Any:
        found = library.find(word, most=2)
        return (
            found,
            other.find(word),
            library.lend(found[0]),
            library.shout(word),
            library.kind(word),
            Library.find(other, word),
        )

    assert app.using(optimize=optimize)("se") == (
        ["sea", "seal"],
        ["seed"],
        "lent sea",
        "SE",
        "Library se",
        ["seed"],
    )
    assert library.books == ["seal"]
    assert library.find("x") == []  # outside of an app it is the method itself


def test_objects_of_an_async_app_share_one_compiled_graph() -> None:
    @tl.app
    async def app(word: str) -> list[str]:
        return await tl.value(Library([word]).find(word))

    assert [app(word) for word in ("a", "b")] == [["a"], ["b"]]
    assert len(app._segments) == 1


def test_callables_are_tools_and_their_results_have_types() -> None:
    count = tl.tool(Library(["sea", "seal"]), pure=True)
    three = tl.tool(partial(search._function, k=3), pure=True)
    upper = tl.tool(str.upper, pure=True)
    book = tl.tool(Library, name="book", pure=True)

    @tl.app
    def app(word: str) -> Any:
        return count(word), tl.map(upper, three(word)), book([word]).books

    assert app("se") == (2, ["SE", "SE", "SE"], ["se"])


def _bit_by_bit(word: str) -> Iterator[str]:
    yield word


@pytest.mark.parametrize("function", [3, _bit_by_bit, classmethod(lambda cls: cls)])
def test_what_cannot_be_a_tool_is_told_at_decoration(function: Any) -> None:
    with pytest.raises(DefinitionError, match="tool"):
        tl.tool(function)
