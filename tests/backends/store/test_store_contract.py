"""What every store promises: in memory, on disk, in PostgreSQL, in qdrant."""

from typing import Any

import numpy as np
import pytest
from store_testing import CAPITALS, COUNT, EAST, NORTH, PLANE, Store, delete, ingest, names, search

from backends.base import Request, Result
from backends.documents import Doc, Index
from backends.errors import RequestRejected


def test_ingest_returns_the_index_of_its_documents(store: Store) -> None:
    (outcome,) = store.run(ingest(CAPITALS, PLANE))
    assert isinstance(outcome, Result)
    (index,) = outcome.outputs
    assert index.collection == "default"
    assert names(index) == ["fr", "de", "jp", "bananas"]
    assert outcome.usage.num_items == 4


def test_vector_search_is_by_cosine_whatever_the_lengths(store: Store) -> None:
    store.run(ingest(CAPITALS, PLANE * np.array([[9], [1], [0.1], [3]], np.float32)))
    docs = store.value(search("", EAST * 7, k=3))
    assert [doc.id for doc in docs] == ["fr", "de", "jp"]
    assert [doc.score for doc in docs] == pytest.approx([1, 0.8, 0], abs=1e-6)
    assert docs[0].metadata == CAPITALS[0].metadata


def test_equal_scores_go_by_insertion(store: Store) -> None:
    docs = [Doc(str(i), f"d{i}") for i in range(20)]
    store.run(ingest(docs, np.ones((20, 3), np.float32)))
    vector = np.ones(3, np.float32)
    assert store.ids(search("", vector, k=5)) == ["d0", "d1", "d2", "d3", "d4"]


def test_k_is_ten_unless_told(store: Store) -> None:
    store.run(ingest([Doc(str(i)) for i in range(20)], np.ones((20, 2), np.float32)))
    assert len(store.ids(search("", EAST))) == 10
    assert len(store.ids(search("", EAST, k=0))) == 0
    assert len(store.ids(search("", EAST, k=99))) == 20


def test_bm25_finds_by_words_and_leaves_out_texts_without_any(capitals: Store) -> None:
    assert capitals.ids(search("capital of Japan", mode="bm25")) == ["jp", "fr", "de"]
    assert capitals.ids(search("zebra", mode="bm25")) == []
    assert capitals.ids(search("", mode="bm25")) == []


def test_hybrid_is_the_fusion_of_both(capitals: Store) -> None:
    # by vector: jp 1, de 2, fr 3, bananas 4 (equal to fr, inserted later); by words: bananas 1
    docs = capitals.value(search("yellow bananas", NORTH, mode="hybrid"))
    assert [(doc.id, doc.score) for doc in docs] == [
        ("bananas", pytest.approx(1 / 64 + 1 / 61)),
        ("jp", pytest.approx(1 / 61)),
        ("de", pytest.approx(1 / 62)),
        ("fr", pytest.approx(1 / 63)),
    ]


def test_hybrid_looks_further_down_than_k(store: Store) -> None:
    """Second on both sides is better than first on one and far down on the other."""
    docs = [Doc("apple apple", "words"), Doc("apple pear plum", "both"), Doc("stone", "near")]
    fillers = [Doc("sand", f"sand{i}") for i in range(20)]
    vectors = np.array([[-1, 0], [0.9, 0.4], [1, 0], *[[0.5, 0.8]] * 20], np.float32)
    store.run(ingest([*docs, *fillers], vectors))
    (found,) = store.value(search("apple", EAST, mode="hybrid", k=1))
    assert found.id == "both"
    assert found.score == pytest.approx(2 / 62)


@pytest.mark.parametrize("mode", ["vector", "bm25", "hybrid"])
def test_where_filters_before_k(capitals: Store, mode: str) -> None:
    found = capitals.ids(search("capital", EAST, mode=mode, k=1, where={"continent": "asia"}))
    assert found == ["jp"]
    assert capitals.ids(search("capital", EAST, mode=mode, where={"size": {"gt": 99}})) == []


def test_where_does_not_change_a_bm25_score(capitals: Store) -> None:
    plain = {doc.id: doc.score for doc in capitals.value(search("capital Japan", mode="bm25"))}
    (found,) = capitals.value(search("capital Japan", mode="bm25", where={"continent": "asia"}))
    assert found.score == plain["jp"]


def test_an_unknown_operator_is_rejected(capitals: Store) -> None:
    assert "unknown operator 'above'" in capitals.error(search("", EAST, where={"a": {"above": 1}}))


@pytest.mark.parametrize("mode", ["vector", "bm25", "hybrid"])
def test_an_index_sees_its_own_documents_only(capitals: Store, mode: str) -> None:
    index = capitals.value(ingest(CAPITALS[:2], PLANE[:2]))
    before = capitals.value(search("capital of France", EAST, index, mode=mode))
    assert {doc.id for doc in before} == {"fr", "de"}
    capitals.run(ingest([Doc("capital capital France", "x")], EAST[None]))
    assert capitals.value(search("capital of France", EAST, index, mode=mode)) == before


@pytest.mark.parametrize("mode", ["vector", "bm25", "hybrid"])
def test_an_index_keeps_its_documents_whatever_comes_later_under_their_ids(
    store: Store, mode: str
) -> None:
    first, second = store.run(
        ingest([Doc("Alice earns 100", "report.md#1:0")], EAST[None]),
        ingest([Doc("Bob earns 900", "report.md#1:0")], NORTH[None]),
    )
    assert isinstance(first, Result)
    assert isinstance(second, Result)

    def texts(index: Index | None) -> list[str]:
        return [doc.text for doc in store.value(search("earns", EAST, index, mode=mode))]

    assert texts(first.outputs[0]) == ["Alice earns 100"]
    assert texts(second.outputs[0]) == ["Bob earns 900"]
    assert texts(None) == ["Bob earns 900"]


def test_metadata_belongs_to_what_an_index_keeps(store: Store) -> None:
    index = store.value(ingest([Doc("text", "a", metadata={"user": "alice"})], EAST[None]))
    store.run(ingest([Doc("text", "a", metadata={"user": "bob"})], EAST[None]))
    (doc,) = store.value(search("", EAST, index))
    assert (doc.id, doc.metadata) == ("a", {"user": "alice"})


def test_the_whole_store_sees_the_newest_of_each_id(capitals: Store) -> None:
    assert capitals.ids(search("Lyon", mode="bm25")) == []
    capitals.run(ingest([Doc("Lyon is in France", "fr")], EAST[None]))
    assert capitals.ids(search("Lyon", mode="bm25")) == ["fr"]
    assert capitals.ids(search("Paris", mode="bm25")) == []
    capitals.run(ingest(CAPITALS[:1], PLANE[:1]))  # back to what it was
    assert capitals.ids(search("Lyon", mode="bm25")) == []
    assert capitals.ids(search("Paris", mode="bm25")) == ["fr"]
    assert len(capitals.ids(search("", EAST))) == 4


def test_of_an_index_joined_from_pieces_the_later_row_of_an_id_counts(store: Store) -> None:
    pieces = [store.value(ingest([Doc(text, "a")], EAST[None])).ids for text in ("first", "second")]
    index = Index("default", (*pieces[0], *pieces[1]))
    assert [doc.text for doc in store.value(search("", EAST, index))] == ["second"]


def test_ingesting_again_changes_nothing(capitals: Store) -> None:
    before = capitals.value(search("capital", EAST, mode="hybrid"))
    index = capitals.value(ingest(CAPITALS, PLANE))
    noise = np.array([1e-4, -1e-4], np.float32)  # of another batch
    assert names(index) == ["fr", "de", "jp", "bananas"]
    assert capitals.value(ingest(CAPITALS, PLANE + noise)) == index
    assert capitals.value(search("capital", EAST, mode="hybrid")) == before


def test_the_same_text_with_another_embedders_vector_is_a_row_of_its_own(store: Store) -> None:
    east = store.value(ingest([Doc("a", "a")], EAST[None]))
    north = store.value(ingest([Doc("a", "a")], NORTH[None]))
    bare = store.value(ingest([Doc("a", "a")]))
    scores = [store.value(search("", EAST, index))[0].score for index in (east, north)]
    assert scores == [pytest.approx(1), pytest.approx(0)]
    assert "no document of this index has a vector" in store.error(search("", EAST, bare))
    assert store.value(ingest([Doc("a", "a")], NORTH[None])) == north


def test_a_document_without_an_id_is_known_by_its_content(store: Store) -> None:
    docs = [Doc("a"), Doc("a"), Doc("a", metadata={"n": 1}), Doc("b")]
    first = store.value(ingest(docs))
    assert len(set(first.ids)) == len(first.ids) == 3
    assert store.value(ingest(docs[::-1])).ids == first.ids[::-1]


def test_documents_without_vectors_are_found_by_words(store: Store) -> None:
    index = store.value(ingest(CAPITALS))
    assert store.ids(search("bananas", index=index, mode="bm25")) == ["bananas"]
    assert "no document of this index has a vector" in store.error(search("x", EAST, index))


def test_the_documents_that_are_there_are_counted(capitals: Store) -> None:
    assert capitals.value(COUNT) == 4
    capitals.run(ingest([Doc("Lyon is in France", "fr"), Doc("new", "new")], PLANE[:2]))
    assert capitals.value(COUNT) == 5
    assert capitals.value(delete(["fr", "none"])) == 1
    assert capitals.value(COUNT) == 4


@pytest.mark.parametrize("mode", ["vector", "bm25", "hybrid"])
def test_what_is_deleted_is_found_through_an_older_index_alone(store: Store, mode: str) -> None:
    index = store.value(ingest(CAPITALS, PLANE))
    assert store.value(delete(["fr"])) == 1
    assert "fr" not in store.ids(search("capital", EAST, mode=mode))
    assert "fr" in store.ids(search("capital", EAST, index, mode=mode))
    assert store.value(delete(["fr"])) == 0
    store.run(ingest(CAPITALS[:1], PLANE[:1]))
    assert "fr" in store.ids(search("capital", EAST, mode=mode))


@pytest.mark.parametrize("mode", ["vector", "bm25", "hybrid"])
def test_old_rows_are_forgotten_the_longest_old_first(
    store: Store, few_old_rows: None, mode: str
) -> None:

    def write(text: str) -> Index:
        index: Index = store.value(ingest([Doc(text, "changing")], EAST[None]))
        return index

    def texts(index: Index | None) -> list[str]:
        request = search("one two six capital", EAST, index, mode=mode, k=2)
        return [doc.text for doc in store.value(request)]

    capitals = store.value(ingest(CAPITALS, PLANE))
    before = texts(capitals)
    indexes = [write(f"{text} capital") for text in ("zero", "one", "two", "three", "four")]
    assert texts(indexes[0]) == ["zero capital"]
    indexes += [write(f"{text} capital") for text in ("five", "six")]
    assert "very many changes ago" in store.error(search("", EAST, indexes[0], mode=mode))
    assert texts(indexes[4]) == ["four capital"]
    assert texts(indexes[6]) == ["six capital"]
    assert texts(capitals) == before
    assert store.value(COUNT) == 5
    assert texts(write("zero capital")) == ["zero capital"]


def test_words_are_those_of_the_rows_after_others_were_forgotten(
    store: Store, few_old_rows: None
) -> None:
    for text in ("zero", "one", "two"):
        store.run(ingest([Doc(text, "changing")]))
    assert store.value(search("two", mode="bm25"))[0].text == "two"
    for text in ("three", "four", "five"):  # the last one's row gets the number of two's
        store.run(ingest([Doc(text, "changing")]))
    assert store.value(search("five", mode="bm25"))[0].text == "five"


def test_everything_is_deleted(capitals: Store) -> None:
    assert capitals.value(delete(all=True)) == 4
    assert capitals.value(COUNT) == 0
    assert capitals.value(search("capital", EAST)) == []


def test_documents_are_deleted_by_parent_and_by_source(store: Store) -> None:
    def doc(name: str, **metadata: Any) -> Doc:
        return Doc(name, name, metadata=metadata)

    docs = [
        doc("p:0", parent="p"),
        doc("p:1", parent="p"),
        doc("a", path="/x/a.md", source="a.md"),
        doc("b", path="/x/sub/b.md", source="sub/b.md"),
        doc("c", source="made"),
        doc("d", path=3, source=4),
    ]
    for ids, sources, gone in (
        (["p"], None, {"p:0", "p:1"}),
        (None, ["/x"], {"a", "b"}),
        (None, ["/x/*.md"], {"a"}),
        (None, ["/x/**/*.md"], {"a", "b"}),
        (None, ["/x/su"], set()),
        (None, ["sub/b.md", "made"], {"b", "c"}),
        (["d"], ["/x/a.md"], {"a", "d"}),
    ):
        store.run(ingest(docs))
        store.run(delete(ids, sources))
        left = store.ids(search("p a b c d 0 1", mode="bm25", k=9))
        assert store.value(COUNT) == 6 - len(gone), (ids, sources)
        assert not gone & set(left)


def test_a_deletion_spares_the_index_that_is_kept_and_means_its_sources(store: Store) -> None:
    def doc(name: str, root: str) -> Doc:
        return Doc(name, name, metadata={"path": f"{root}/{name}", "root": root})

    store.run(ingest([doc("a", "/x"), doc("b", "/x"), doc("c", "/y"), doc("d", "/z")]))
    kept = store.value(ingest([doc("b", "/x")]))
    assert store.value(delete(None, ["/y"], kept)) == 2
    assert store.value(COUNT) == 2


def test_an_index_of_nothing_is_of_any_store(store: Store) -> None:
    nothing = Index("", ())
    assert store.value(search("x", EAST, nothing)) == []
    assert store.value(delete(None, None, nothing)) == 0


def test_a_filter_may_be_an_input(capitals: Store) -> None:
    request = search("capital", EAST)
    request.inputs = (*request.inputs, {"continent": "asia"})
    assert capitals.ids(request) == ["jp"]


def test_searches_of_an_empty_store_find_nothing(store: Store) -> None:
    for mode in ("vector", "bm25", "hybrid"):
        assert store.value(search("x", EAST, mode=mode)) == []
    assert store.value(search("x", EAST, store.value(ingest([])))) == []


def test_another_dimension_is_rejected_with_both_named(capitals: Store) -> None:
    wide = np.ones((1, 3), np.float32)
    assert "3 dimensions, the store's have 2" in capitals.error(ingest([Doc("x")], wide))
    assert "3 dimensions, the store's have 2" in capitals.error(search("x", wide[0]))


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (ingest("text"), "takes a list of Doc"),
        (ingest([Doc("a")], np.ones((2, 2), np.float32)), r"must be float [1, D]"),
        (ingest([Doc("a")], np.array([[np.nan, 1]], np.float32)), "NaN"),
        (search(3, EAST), "takes a query str"),
        (search("x"), "needs the query's vector"),
        (search("x", EAST, mode="fuzzy"), "unknown mode 'fuzzy'; known: vector, bm25, hybrid"),
        (search("x", EAST, k=-1), "k must be a count"),
        (search("x", EAST, k=True), "k must be a count"),
        (search("x", EAST, Index("other")), "is of collection 'other'"),
        (search("x", EAST, Index("default", ("gone",))), "no document 'gone'"),
        (search("x", EAST, "index"), "takes an Index or None"),
        (Request("2" * 32, "embed", ("x",)), "a store runs 'ingest'"),
        (delete("fr"), "takes a list of str as ids"),
        (delete(None, [3]), "takes a list of str as sources"),
        (delete(kept=Index("default")), "cannot keep the index of the whole store"),
        (delete(kept=Index("default", ("gone",))), "no document 'gone'"),
    ],
)
def test_a_wrong_request_fails_alone(capitals: Store, request_: Request, reason: str) -> None:
    good, bad, other = capitals.run(search("x", EAST), request_, ingest([Doc("n")], EAST[None]))
    assert isinstance(good, Result)
    assert isinstance(other, Result)
    assert isinstance(bad, RequestRejected)
    assert reason in str(bad)


def test_a_batch_finds_what_its_searches_find_alone(capitals: Store) -> None:
    index = capitals.value(ingest([CAPITALS[2], CAPITALS[0]], PLANE[[2, 0]]))
    requests = [
        search("capital", EAST, k=2),
        search("capital", NORTH, k=9),
        search("capital", NORTH, index),
        search("bananas", mode="bm25"),
        search("capital", EAST, mode="hybrid", where={"size": {"ge": 3}}),
    ]
    together = capitals.run(*requests)
    assert together == [capitals.run(request)[0] for request in requests]
