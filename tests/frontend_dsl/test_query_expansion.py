"""`tl.expand_queries`, `tl.fuse`, `tl.hybrid_search`."""

import json
from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest

import teola as tl
from backends.tools.fuse import fuse as fuse_rankings
from teola.errors import TraceError

WRITTEN = json.dumps({"queries": ["blue water", "deep ocean"]})

llm = tl.LLM("fake:", replies={"sea": WRITTEN})
store = tl.Store("fake:", embedder=tl.Embedder("fake:"))
reranker = tl.Reranker("fake:")

TEXTS = ["the sea is blue", "grass is green", "deep ocean water", "the sun is yellow"]


@tl.tool(pure=True)
def docs_of(texts: list[str]) -> list[tl.Doc]:
    return [tl.Doc(text, id=f"d{number}") for number, text in enumerate(texts)]


def test_queries_are_one_call_held_to_so_many_short_texts() -> None:
    @tl.app
    def app(question: str) -> list[str]:
        return tl.expand_queries(
            llm, question, 2, max_query_chars=40, instructions="Write {n}.", temperature=0.5
        )

    assert str(app.graph()) == dedent("""\
        graph app {
          %question = input [type="str"]
          %expand.empty = context [engine="llm"]
          %expand.prompt = prefill %expand.empty @system "Write 2." @user "Question:" @sp \
%question @assistant [engine="llm"]
          %expand.json, %expand.context = decode %expand.prompt [engine="llm", max_tokens=193, \
schema={"additionalProperties": false, "properties": {"queries": {"items": {"maxLength": 40, \
"type": "string"}, "maxItems": 2, "minItems": 2, "type": "array"}}, "required": ["queries"], \
"type": "object"}, temperature=0.5]
          %expand = parse %expand.json [type="Queries"]
          %queries = get %expand [items="Queries.queries[]", list=true, path=["queries"]]
          return %queries
        }""")
    assert app("how blue is the sea?") == ["blue water", "deep ocean"]


def test_the_original_question_can_come_first() -> None:
    @tl.app
    def app(question: str) -> list[str]:
        return tl.expand_queries(llm, question, 2, include_original=True)

    assert app("the sea?") == ["the sea?", "blue water", "deep ocean"]


def test_queries_are_searched_for_while_the_next_is_written() -> None:
    @tl.app
    def app(question: str) -> list[list[tl.Doc]]:
        return tl.map(lambda q: store.search(q), tl.expand_queries(llm, question, 2))

    assert "elements ~%expand.json" in app.explain()


def test_two_expansions_of_one_app_may_differ() -> None:
    @tl.app
    def app(question: str) -> list[list[str]]:
        return [tl.expand_queries(llm, question, 2), tl.expand_queries(llm, question, 3)]

    parses = [node.attrs["type"] for node in app.graph().nodes if node.op == "parse"]
    assert parses == ["Queries", "Queries_2"]


def test_hybrid_search_alone_is_one_search_of_the_store() -> None:
    @tl.app
    def app(question: str) -> list[tl.Doc]:
        return tl.hybrid_search(store, question, k=3, where={"year": 2020})

    assert str(app.graph()) == dedent("""\
        graph app {
          %question = input [type="str"]
          %search.vector = embed %question [engine="embedder"]
          %search = search null %question %search.vector [engine="store", k=3, mode="hybrid", \
where={"year": 2020}]
          return %search
        }""")


def test_hybrid_search_with_everything_expands_to_searches_and_one_rerank() -> None:
    @tl.app
    def app(question: str, texts: list[str]) -> list[tl.Doc]:
        index = store.index(docs_of(texts))
        return tl.hybrid_search(index, question, k=2, fetch=4, llm=llm, n=2, reranker=reranker)

    text = str(app.graph())
    tail = text[text.index("%queries") :]
    assert tail == dedent("""\
        %queries = get %expand [items="Queries.queries[]", list=true, path=["queries"]]
          %map = map %queries %index [order="sequential"] after %expand.json {
            %text = input [type="str"]
            %index = input [type="Index"]
            %search.vector = embed %text [engine="embedder"]
            %search = search %index %text %search.vector [engine="store", k=4, mode="hybrid"]
            return %search
          }
          %list = pack %search
          %flatten = concat %list %map
          %flatten_2 = flatten %flatten [unique=true]
          %rerank = rerank %question %flatten_2 [engine="reranker", k=2] after %map
          return %rerank
        }""")
    for optimize in (False, True):
        found = app.using(optimize=optimize)("the sea is blue", TEXTS)
        assert found[0].id == "d0"
        assert len({doc.id for doc in found}) == 2


def test_hybrid_search_without_a_reranker_fuses_the_rankings() -> None:
    @tl.app
    def app(question: str, texts: list[str]) -> list[tl.Doc]:
        return tl.hybrid_search(store.index(docs_of(texts)), question, k=3, llm=llm, n=2)

    found = app("the sea is blue", TEXTS)
    assert len(found) == 3
    assert found == app.using(optimize=False)("the sea is blue", TEXTS)
    scores = [doc.score or 0.0 for doc in found]
    assert scores == sorted(scores, reverse=True)
    assert max(scores) <= 3 / 61


def test_hybrid_search_in_nothing_finds_nothing() -> None:
    @tl.app
    def app(question: str, texts: list[str]) -> list[tl.Doc]:
        return tl.hybrid_search(store.index(docs_of(texts)), question, llm=llm, n=2)

    assert app("the sea", []) == []


def test_fusion_adds_one_over_sixty_plus_rank_over_the_rankings() -> None:
    a, b, c = (tl.Doc(name, id=name, score=7.0) for name in "abc")
    fused = fuse_rankings([[a, b], [b, c], []])
    assert [doc.id for doc in fused] == ["b", "a", "c"]
    assert [doc.score for doc in fused] == [1 / 62 + 1 / 61, 1 / 61, 1 / 62]
    assert [doc.id for doc in fuse_rankings([[a, b], [b, c]], k=1)] == ["b"]
    assert fuse_rankings([]) == []


def test_fusion_takes_documents_without_ids_by_their_text_and_each_once_a_ranking() -> None:
    fused = fuse_rankings([[tl.Doc("x"), tl.Doc("x"), tl.Doc("y")]])
    assert [(doc.text, doc.score) for doc in fused] == [("x", 1 / 61), ("y", 1 / 62)]


def test_fuse_is_a_pure_primitive() -> None:
    @tl.app
    def app(question: str) -> list[tl.Doc]:
        return tl.fuse([store.search(question), store.search(question, mode="bm25")], k=4)

    (call,) = [node for node in app.graph().nodes if node.op == "call"]
    assert call.attrs["pure"] is True


MISUSES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "n": (lambda q: tl.expand_queries(llm, q, 0), "needs n >= 1"),
    "late n": (lambda q: tl.expand_queries(llm, q, q), "a number known now"),
    "late text": (lambda q: tl.expand_queries(llm, q, instructions=f"{q}"), "constant text"),
    "k": (lambda q: tl.hybrid_search(store, q, k=0), "needs k >= 1"),
    "fetch": (lambda q: tl.hybrid_search(store, q, k=5, fetch=3), "needs fetch >= 5"),
    "no llm": (lambda q: tl.hybrid_search(store, q, max_tokens=9), "no llm="),
    "fuse": (lambda q: tl.fuse([], k=0), "tl.fuse needs k >= 1"),
}


@pytest.mark.parametrize("what", MISUSES)
def test_misuse_is_told_with_the_users_line(what: str) -> None:
    call, message = MISUSES[what]

    @tl.app
    def app(question: str) -> list[Any]:
        result: list[Any] = call(question)
        return result

    with pytest.raises(TraceError, match=message) as caught:
        app.graph()
    assert "test_query_expansion.py" in caught.value.file


def test_searching_in_something_else_is_a_type_error() -> None:
    @tl.app
    def app(question: str) -> list[tl.Doc]:
        return tl.hybrid_search("local:", question)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="needs an index or a Store first, not 'local:'"):
        app.graph()
