"""The template of tl.join: what it names must be there."""

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

import teola as tl
from teola.errors import NodeFailed, TraceError


class Book(BaseModel):
    title: str


@dataclass
class Town:
    name: str


@tl.tool(pure=True)
def books(word: str) -> list[Book]:
    return [Book(title=word)]


@tl.tool(pure=True)
def towns(word: str) -> list[Town]:
    return [Town(word)]


@tl.tool(pure=True)
def docs(word: str) -> list[tl.Doc]:
    return [tl.Doc(word, metadata={"source": "a.md"}), tl.Doc(word, metadata={})]


@tl.tool(pure=True)
def dicts(word: str) -> list[dict[str, str]]:
    return [{"name": word}]


def joined(items: Any, template: Any) -> Any:
    @tl.app
    def app(word: str) -> str:
        return tl.join(items(word), template)

    return app


WRONG: list[tuple[Any, Any, str]] = [
    (books, "{", "doubled"),
    (books, "a } b", "doubled"),
    (books, "{}", "names no field"),
    (books, "{0}", "names no field"),
    (books, "{name}", r"a Book has no field {name}; there are {i}, {text}, {title}"),
    (towns, "{title}", r"a Town has no field {title}"),
    (lambda word: [word], "{title}", r"a str has no field {title}"),
    (books, 3, "is a text"),
]


@pytest.mark.parametrize(("items", "template", "problem"), WRONG)
def test_a_template_that_no_item_fills_is_told_when_traced(
    items: Any, template: Any, problem: str
) -> None:
    with pytest.raises(TraceError, match=problem) as caught:
        joined(items, template).graph()
    assert caught.value.file.endswith("test_join_template.py")


@pytest.mark.parametrize(
    ("items", "template", "text"),
    [
        (books, "{{{i}}} {title}", "{1} x"),
        (towns, "{name}!", "x!"),
        (dicts, "{name}!", "x!"),
        (docs, "{i}{text}", "1x\n2x"),
        (lambda word: [word, 3], "{text:>3}", "  x\n  3"),
    ],
)
def test_a_template_is_filled_with_each_item(items: Any, template: str, text: str) -> None:
    assert joined(items, template)("x") == text


def test_a_field_that_one_item_lacks_is_named() -> None:
    with pytest.raises(NodeFailed, match=r"names {source}, which item 2 does not have; it has i"):
        joined(docs, "{source}")("x")
