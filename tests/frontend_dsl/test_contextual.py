"""`tl.contextualize`: which neighbours a chunk is read with, and what becomes of it."""

from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest

import teola as tl
from frontend_dsl.contextual import surroundings
from teola.errors import TraceError

llm = tl.LLM("fake:", replies={r"Passage:\nb1": "  It is about\n b1. ", r"Passage:\na": ""})
store = tl.Store("fake:", embedder=tl.Embedder("fake:"))


def chunk(document: str, number: int) -> tl.Doc:
    name = f"{document}{number}"
    return tl.Doc(name, id=name, metadata={"parent": document, "title": document.upper(), "n": 1})


@tl.app
def situated(chunks: list[tl.Doc]) -> list[tl.Doc]:
    return tl.contextualize(llm, chunks, instructions="Place it.", stop="\n")


CHUNKS = [chunk("a", 0), chunk("b", 0), chunk("b", 1), chunk("b", 2), chunk("a", 1)]


def around(neighbours: int | None) -> list[str]:
    return [place.around for place in surroundings(CHUNKS, neighbours=neighbours)]


def test_it_is_a_map_of_one_call_a_chunk_whose_head_is_the_same_for_all() -> None:
    assert str(situated.graph()) == dedent("""\
        graph situated {
          %chunks = input [type="list[Doc]"]
          %surroundings = call %chunks 1 [engine="python", fn="surroundings", \
kwargs=["neighbours"], pure=true]
          %map = map %surroundings [order="sequential"] {
            %place = input [type="Surroundings"]
            %chunk = get %place [path=["chunk"]]
            %title = get %place [path=["title"]]
            %around = get %place [path=["around"]]
            %situate.empty = context [engine="llm"]
            %situate.prompt = prefill %situate.empty @system "Place it." @user "Document:" @sp \
%title "\\n\\n" %around "\\n\\nPassage:\\n" %chunk @assistant [engine="llm"]
            %situate, %situate.context = decode %situate.prompt [engine="llm", max_tokens=48, \
stop=["\\n"]]
            %in_context = call %chunk %situate [engine="python", fn="in_context", pure=true]
            return %in_context
          }
          return %map
        }""")


def test_the_shared_head_is_prefilled_once_when_it_pays() -> None:
    @tl.app
    def app(chunks: list[tl.Doc]) -> list[tl.Doc]:
        return tl.contextualize(llm, chunks)

    assert "%situate.prompt.head = input" in str(app.plan().after)


def test_chunks_are_embedded_as_soon_as_each_has_its_context() -> None:
    @tl.app
    def app(chunks: list[tl.Doc]) -> list[tl.Doc]:
        return store.index(tl.contextualize(llm, chunks)).search("x")

    assert "embed ~%map" in str(app.plan().after)


@pytest.mark.parametrize("optimize", [False, True])
def test_the_context_comes_before_the_text_and_the_rest_stays(optimize: bool) -> None:
    found = situated.using(optimize=optimize)(CHUNKS)
    assert [doc.id for doc in found] == ["a0", "b0", "b1", "b2", "a1"]
    b1 = found[2]
    assert b1.text == "It is about b1.\n\nb1"
    assert b1.metadata == {
        "parent": "b",
        "title": "B",
        "n": 1,
        "context": "It is about b1.",
        "original": "b1",
    }


def test_a_chunk_about_which_nothing_is_said_keeps_its_text() -> None:
    assert situated(CHUNKS)[0].text == "a0"


def test_no_chunks_are_no_calls() -> None:
    assert situated([]) == []


def test_neighbours_are_those_of_the_same_document() -> None:
    assert around(1) == [
        "After it:\na1",
        "After it:\nb1",
        "Before it:\nb0\n\nAfter it:\nb2",
        "Before it:\nb1",
        "Before it:\na0",
    ]


def test_without_a_number_the_whole_document_is_around() -> None:
    assert around(None) == ["a0\na1", *["b0\nb1\nb2"] * 3, "a0\na1"]


def test_no_neighbours_leave_the_title() -> None:
    assert around(0) == [""] * 5


MISUSES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "negative": (lambda d: tl.contextualize(llm, d, neighbours=-1), "needs neighbours >= 0"),
    "late": (lambda d: tl.contextualize(llm, d, neighbours=d), "a number known now"),
    "late text": (lambda d: tl.contextualize(llm, d, instructions=f"{d}"), "constant text"),
}


@pytest.mark.parametrize("what", MISUSES)
def test_misuse_is_told_with_the_users_line(what: str) -> None:
    call, message = MISUSES[what]

    @tl.app
    def app(docs: list[tl.Doc]) -> list[tl.Doc]:
        result: list[tl.Doc] = call(docs)
        return result

    with pytest.raises(TraceError, match=message) as caught:
        app.graph()
    assert "test_contextual.py" in caught.value.file
