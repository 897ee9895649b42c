"""What type checkers see of values, prompts and tools: mypy reads this file in strict mode."""

from typing import Any, Literal, assert_type

from pydantic import BaseModel

import teola as tl

llm = tl.LLM("fake:")


class Book(BaseModel):
    title: str


@tl.prompt(llm)
def text(topic: str) -> str:
    return f"Write {topic}"


@tl.prompt(llm, choices=["a", "b"])
def choice(topic: str) -> str:
    return f"Choose {topic}"


@tl.prompt(llm, regex="a+")
def pattern(topic: str) -> str:
    return f"Match {topic}"


@tl.prompt(llm, out=list[Book], temperature=0.5, max_tokens=20)
def books(topic: str) -> str:
    return f"Books {topic}"


@tl.prompt(llm, out=Literal["yes", "no"])
def literal(topic: str) -> str:
    return f"Say {topic}"


@tl.prompt(llm, out={"type": "object"})
def anything(topic: str) -> str:
    return f"Any {topic}"


@tl.tool(pure=True)
def count(words: list[str]) -> int:
    return len(words)


class Library:
    @tl.tool
    def lend(self, title: str) -> Book:
        return Book(title=title)


@tl.app
def app(topic: str) -> Any:
    found = books(topic)
    assert_type(text(topic), str)
    assert_type(choice(topic), str)
    assert_type(pattern(topic), str)
    assert_type(found, list[Book])
    assert_type(books.using(temperature=0.1, llm=llm)(topic), list[Book])
    assert_type(anything(topic), Any)
    assert_type(count([topic]), int)
    assert_type(found[:2], list[Book])
    assert_type(tl.map(lambda book: book.title, found), list[str])
    assert_type(tl.map(lambda book, n: (n, book), found, [1, 2]), list[tuple[int, Book]])
    assert_type(tl.zip(found, [1, 2]), list[tuple[Book, int]])
    assert_type(tl.zip(found, [1], ["a"]), list[tuple[Book, int, str]])
    assert_type(tl.enumerate(found), list[tuple[int, Book]])
    assert_type(tl.filter(lambda book: book.title, found), list[Book])
    assert_type(tl.sorted(found, key=lambda book: book.title, reverse=True), list[Book])
    return literal(topic)


def test_the_program_that_type_checkers_read_can_be_traced() -> None:
    assert app.graph(topic="x").node("literal").op == "parse"
