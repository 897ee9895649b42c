"""The store engine, in memory and on disk: both must behave alike."""

import asyncio
import fcntl
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.base import Engine, Outcome, Request, Result
from backends.documents import Doc, Index
from backends.errors import ConfigError, EngineUnavailable, RequestRejected
from backends.store import segments
from backends.store.factory import create
from backends.store.runner import StoreRunner

WRITER = Path(__file__).with_name("writer_process.py")
CAPITALS = [
    Doc("Paris is the capital of France", "fr", metadata={"continent": "europe", "size": 2}),
    Doc("Berlin is the capital of Germany", "de", metadata={"continent": "europe", "size": 3}),
    Doc("Tokyo is the capital of Japan", "jp", metadata={"continent": "asia", "size": 14}),
    Doc("Bananas are yellow", "bananas", metadata={"size": 0}),
]
PLANE = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]], np.float32)
EAST, NORTH = np.array([1, 0], np.float32), np.array([0, 1], np.float32)


def ingest(docs: Any, vectors: Any = None) -> Request:
    return Request("0" * 32, "ingest", (docs, vectors))


def search(query: Any, vector: Any = None, index: Any = None, **attrs: Any) -> Request:
    return Request("1" * 32, "search", (index, query, vector), attrs)


def delete(ids: Any = None, sources: Any = None, kept: Any = None, **attrs: Any) -> Request:
    return Request("3" * 32, "delete", (ids, sources, kept), attrs)


COUNT = Request("4" * 32, "count", ())


def names(index: Index) -> list[str]:
    """The documents that an index holds the rows of."""
    assert index.ids is not None
    return [key.rpartition("@")[0] for key in index.ids]


class Store:
    """A started engine with the asynchrony taken away."""

    def __init__(self, engine: Engine) -> None:
        self._loop = asyncio.Runner()
        self._engine = engine
        try:
            self._loop.run(engine.start())
        except EngineUnavailable:
            self._loop.close()
            raise

    def run(self, *requests: Request) -> list[Outcome]:
        return self._loop.run(self._engine.execute(requests))

    def value(self, request: Request) -> Any:
        (outcome,) = self.run(request)
        assert isinstance(outcome, Result), outcome
        return outcome.outputs[0]

    def ids(self, request: Request) -> list[str]:
        return [doc.id for doc in self.value(request)]

    def error(self, request: Request) -> str:
        (outcome,) = self.run(request)
        assert isinstance(outcome, RequestRejected), outcome
        return str(outcome)

    def close(self) -> None:
        self._loop.run(self._engine.close())
        self._loop.close()


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = "local:" if request.param == "memory" else f"local:{tmp_path / 'store'}"
    opened = Store(create("store", url, {}))
    yield opened
    opened.close()


@pytest.fixture
def capitals(store: Store) -> Store:
    store.run(ingest(CAPITALS, PLANE))
    return store


def reopen(folder: Path) -> Store:
    return Store(create("store", f"local:{folder}", {}))


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


@pytest.mark.parametrize("metadata", [{1: "a", "b": 2}, {"half": "\ud800"}])
def test_any_metadata_can_be_told_apart(metadata: dict[Any, Any]) -> None:
    runner = StoreRunner("default", None)
    (outcome,) = runner.run([ingest([Doc("a", "a", metadata=metadata), Doc("b", "b")])])
    assert isinstance(outcome, Result)
    assert names(outcome.outputs[0]) == ["a", "b"]


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
    store: Store, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr("backends.store.runner._OLD_ROWS", 2)

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
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.store.runner._OLD_ROWS", 2)
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


def test_unknown_options_name_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'path'\. Known options: collection, max_batch_items"):
        create("store", "local:", {"path": "x"})


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 12))
def test_search_is_brute_force_over_the_index_and_the_filter(seed: int, count: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, size=(count, 3)).astype(np.float32)  # many ties, some zero
    query = rng.integers(-2, 3, size=3).astype(np.float32)
    docs = [Doc(f"text {i}", str(i), metadata={"n": int(rng.integers(4))}) for i in range(count)]
    chosen = [int(i) for i in rng.permutation(count)[: max(1, count // 2)]]
    runner = StoreRunner("default", None)
    (written,) = runner.run([ingest(docs, vectors)])
    assert isinstance(written, Result)
    index = Index("default", tuple(written.outputs[0].ids[i] for i in chosen))
    (outcome,) = runner.run([search("", query, index, k=k, where={"n": {"ge": 2}})])

    def cosine(row: int) -> float:
        lengths = np.linalg.norm(vectors[row]) * np.linalg.norm(query)
        return round(float(vectors[row] @ query / max(lengths, 1e-9)), 5)

    wanted = sorted(i for i in chosen if docs[i].metadata["n"] >= 2)
    expected = sorted(wanted, key=lambda row: (-cosine(row), row))[:k]
    assert isinstance(outcome, Result)
    found = [round(doc.score, 5) for doc in outcome.outputs[0]]
    assert found == pytest.approx([cosine(row) for row in expected], abs=2e-5)


def test_a_reopened_store_gives_the_same_results(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    requests = [
        search("text 3 of 7", rng.normal(size=8).astype(np.float32), mode=mode, k=30)
        for mode in ("vector", "bm25", "hybrid")
    ]
    first = reopen(tmp_path)
    for part in range(5):
        docs = [
            Doc(f"text {i} of {part}\u2028ü", metadata={"n": (i, part)}) for i in range(part, 20)
        ]
        first.run(ingest(docs, rng.normal(size=(len(docs), 8)).astype(np.float32)))
    first.run(ingest([Doc("without a vector", "bare")]))
    for text in ("one", "two", "one"):  # the newest is not the last written row
        index = first.value(ingest([Doc(text, "changing")], np.ones((1, 8), np.float32)))
    requests.append(search("one two", mode="bm25"))
    requests.append(search("one two", mode="bm25", index=index))
    before = first.run(*requests)
    first.close()
    second = reopen(tmp_path)
    assert second.run(*requests) == before
    assert isinstance(before[0], Result)
    assert len(before[0].outputs[0]) == 30
    assert [doc.text for doc in second.value(requests[-2])] == ["one"]
    second.close()


def test_what_is_on_the_disk_already_is_not_written_again(tmp_path: Path) -> None:
    store = reopen(tmp_path)
    for docs in (CAPITALS, CAPITALS[:2], [Doc("Lyon", "fr")], CAPITALS[:2]):
        store.run(ingest(docs))
    store.close()
    assert len(list(tmp_path.glob("*.jsonl"))) == 3
    store = reopen(tmp_path)
    assert store.ids(search("Paris Lyon", mode="bm25")) == ["fr"]
    store.close()


def lines_of(folder: Path) -> list[int]:
    """The changes in each segment."""
    paths = sorted(folder.glob("*.jsonl"))
    return [len(path.read_text().splitlines()) - 1 for path in paths]


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    store = reopen(tmp_path)
    docs = [Doc(f"text {i}", str(i), metadata={"n": (i,)}) for i in range(28)]
    vectors = np.random.default_rng(0).normal(size=(28, 3)).astype(np.float32)
    store.run(ingest(docs, vectors), ingest(docs, vectors))
    docs[3] = Doc("something else", "3")
    store.run(ingest(docs, vectors))
    store.run(ingest(docs[:5], vectors[:5]), ingest(docs, vectors))
    store.run(delete(["5"]), delete(["5", "6"]))
    store.run(delete(["5"]))
    store.close()
    assert lines_of(tmp_path) == [28, 1, 1, 1]
    store = reopen(tmp_path)
    assert store.value(COUNT) == 26
    store.run(ingest(docs, vectors))
    assert lines_of(tmp_path) == [28, 1, 1, 1, 2]
    store.close()


def test_deletions_last_and_are_seen_by_other_processes(tmp_path: Path) -> None:
    one, two = reopen(tmp_path), reopen(tmp_path)
    one.run(ingest(CAPITALS, PLANE))
    assert two.value(delete(["fr", "jp"])) == 2
    assert one.ids(search("", EAST)) == ["de", "bananas"]
    one.run(ingest(CAPITALS[:1], PLANE[:1]))
    assert two.ids(search("", EAST)) == ["fr", "de", "bananas"]
    for store in (one, two):
        store.close()
    store = reopen(tmp_path)
    assert store.ids(search("", EAST)) == ["fr", "de", "bananas"]
    store.close()


@pytest.fixture
def tidy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments are rewritten as soon as most of what they hold does not count."""
    monkeypatch.setattr("backends.store.runner._SPARE_CHANGES", 0)


@pytest.mark.usefixtures("tidy")
def test_what_no_longer_counts_is_removed_from_the_disk(tmp_path: Path) -> None:
    one, two = reopen(tmp_path), reopen(tmp_path)
    index = one.value(ingest([*CAPITALS[:3], Doc("the secret", "secret")], PLANE))
    two.run(COUNT)
    for text in "abcd":
        one.run(ingest([Doc(text, "changing")], EAST[None]))
    before = one.value(search("", EAST))
    one.run(delete(["secret"]))
    assert len(lines_of(tmp_path)) < 5
    one.run(delete(["jp"]))
    files = sorted(path.name for path in tmp_path.glob("0*"))
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.glob("0*.jsonl"))
    assert [Path(name).suffix for name in files].count(".jsonl") <= 2
    expected = [doc for doc in before if doc.id not in ("secret", "jp")]
    assert one.value(search("", EAST)) == two.value(search("", EAST)) == expected
    assert len(two.value(search("", EAST, index))) == 4
    two.run(delete(all=True))
    assert (one.value(COUNT), lines_of(tmp_path)) == (0, [0])
    for store in (one, two):
        store.close()
    store = reopen(tmp_path)
    assert store.value(COUNT) == 0
    store.run(ingest(CAPITALS, PLANE))
    assert store.value(COUNT) == 4
    store.close()


@pytest.mark.usefixtures("tidy")
def test_a_segment_that_goes_while_it_is_read_is_replaced_by_a_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = reopen(tmp_path)
    writer.run(ingest(CAPITALS, PLANE))
    read = segments._read

    def slowly(path: Path) -> segments.Segment:
        monkeypatch.setattr(segments, "_read", read)
        writer.run(delete(["fr", "de", "bananas"]))
        assert not path.exists()
        return read(path)

    monkeypatch.setattr(segments, "_read", slowly)
    reader = reopen(tmp_path)
    assert reader.ids(search("", EAST)) == ["jp"]
    reader.close()
    writer.close()


@pytest.mark.parametrize("suffix", [".jsonl", ".npy"])
@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_a_torn_last_segment_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str, keep: float
) -> None:
    store = reopen(tmp_path)
    store.run(ingest(CAPITALS[:2], PLANE[:2]))
    store.run(ingest(CAPITALS[2:], PLANE[2:]))
    store.close()
    last = max(tmp_path.glob(f"*{suffix}"))
    torn = last.read_bytes()[: int(last.stat().st_size * keep)]
    last.write_bytes(torn)

    with caplog.at_level(logging.WARNING):
        store = reopen(tmp_path)
    assert "torn" in caplog.text
    assert last.name in caplog.text
    assert store.ids(search("", EAST)) == ["fr", "de"]
    store.run(ingest(CAPITALS[3:], PLANE[3:]))  # goes on in the torn one's place
    store.close()
    aside = last.with_suffix(".torn" if suffix == ".jsonl" else ".npy.torn")
    assert aside.read_bytes() == torn
    store = reopen(tmp_path)
    assert store.ids(search("", EAST)) == ["fr", "de", "bananas"]
    store.close()


def test_a_crash_before_the_last_rename_leaves_no_trace(tmp_path: Path) -> None:
    store = reopen(tmp_path)
    store.run(ingest(CAPITALS[:2], PLANE[:2]))
    store.run(ingest(CAPITALS[2:], PLANE[2:]))
    store.close()
    last = max(tmp_path.glob("*.jsonl"))
    last.rename(last.with_name(last.name + ".part"))
    store = reopen(tmp_path)
    assert store.ids(search("", EAST)) == ["fr", "de"]
    store.run(ingest(CAPITALS[2:3], PLANE[2:3]))
    store.close()
    store = reopen(tmp_path)
    assert store.ids(search("", EAST)) == ["fr", "de", "jp"]
    store.close()


@pytest.mark.parametrize("crash_at", range(1, 7))
def test_a_process_that_ends_between_two_writes_leaves_whole_segments(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, crash_at: int
) -> None:
    with caplog.at_level(logging.WARNING):
        run_process(tmp_path, "crash", crash_at)
        store = reopen(tmp_path)
    found = store.ids(search("", EAST))
    assert found in ([], ["fr", "de"], ["fr", "de", "jp", "bananas"], ["jp", "bananas"])
    # a segment is two files, each written beside and then renamed
    assert len(found) == [0, 0, 0, 2, 2, 2, 4][crash_at]
    assert caplog.text == ""
    store.run(ingest(CAPITALS, PLANE))
    store.close()
    store = reopen(tmp_path)
    assert sorted(store.ids(search("", EAST))) == ["bananas", "de", "fr", "jp"]
    store.close()


def test_damage_in_the_middle_is_never_passed_over(tmp_path: Path) -> None:
    store = reopen(tmp_path)
    store.run(ingest(CAPITALS[:2], PLANE[:2]))
    store.run(ingest(CAPITALS[2:], PLANE[2:]))
    store.close()
    first = min(tmp_path.glob("*.npy"))
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(EngineUnavailable, match=f"{first.name} is torn.*not the last segment"):
        reopen(tmp_path)


def test_two_openings_may_write_one_folder(tmp_path: Path) -> None:
    one, two = reopen(tmp_path), reopen(tmp_path)
    one.run(ingest(CAPITALS[:2], PLANE[:2]))
    two.run(ingest(CAPITALS[2:], PLANE[2:]))
    everything = ["fr", "de", "jp", "bananas"]
    assert one.ids(search("", EAST)) == two.ids(search("", EAST)) == everything
    one.close()
    two.close()


def start_process(folder: Path, *command: Any) -> "subprocess.Popen[str]":
    script = [sys.executable, str(WRITER), str(folder), *map(str, command)]
    return subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run_process(folder: Path, *command: Any) -> None:
    process = start_process(folder, *command)
    process.communicate(timeout=60)


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_process_writes_alone(tmp_path: Path) -> None:
    """The writer says so while it writes, and waits to be told to go on."""
    process = start_process(tmp_path, "pause", "append")
    assert said(process) == "append"
    with (tmp_path / "write.lock").open("ab") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    process.communicate("\n", timeout=60)
    assert process.returncode == 0


def test_a_process_sees_what_was_written_while_it_waited_for_the_lock(tmp_path: Path) -> None:
    process = start_process(tmp_path, "pause", "lock")
    assert said(process) == "lock"  # it has read the folder, and will ask for the lock
    store = reopen(tmp_path)
    store.run(ingest(CAPITALS[2:], PLANE[2:]))
    process.communicate("\n", timeout=60)
    assert sorted(store.ids(search("", EAST))) == ["bananas", "de", "fr", "jp"]
    store.close()
    assert not list(tmp_path.glob("*.torn"))


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    processes = [start_process(tmp_path, "many", number, 8) for number in range(3)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    store = reopen(tmp_path)
    wanted = {f"{number}.{i}" for number in range(3) for i in range(8)}
    assert set(store.ids(search("", EAST, k=99))) == wanted
    store.close()


def test_metadata_that_is_not_json_is_rejected_on_disk(tmp_path: Path) -> None:
    store = reopen(tmp_path)
    assert "document 'x' cannot be stored as JSON" in store.error(
        ingest([Doc("text", "x", metadata={"f": object()})])
    )
    store.close()


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EngineUnavailable, match="cannot open the store"):
        reopen(tmp_path / "file")
