"""Stores in other processes answer as the one in memory does, whatever is asked."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_testing import Store, delete, ingest, search

from backends.documents import Doc
from backends.registry import EngineSpec, create

FIELDS = ["a", "b", "quote\"d'.[0]", "%s"]
SCALARS = st.one_of(
    st.sampled_from([None, True, False, 0, 1, -1, 1.0, 0.5, 2, 10**20, 2**53 + 1, 1e300]),
    st.sampled_from(["", "a", "b", "A", "é", "\uffff", "\U0001f600", "a\0b", "\ud800", "1"]),
    st.integers(-3, 3),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.just({"x": 1}))
METADATA = st.dictionaries(st.sampled_from(FIELDS), VALUES | st.just(math.nan), max_size=3)
TESTS = st.one_of(
    SCALARS | st.lists(SCALARS, max_size=2),
    st.dictionaries(st.sampled_from(["ge", "gt", "le", "lt", "ne"]), VALUES, max_size=2),
    st.fixed_dictionaries({"in": st.lists(VALUES, max_size=3)}),
)
WHERES = st.dictionaries(st.sampled_from([*FIELDS, "c"]), TESTS, max_size=3)
WORDS = st.lists(st.sampled_from(["apple", "pear", "plum", "fig", "the", "of", "to"]), max_size=6)
QUICK = settings(
    deadline=None,
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def local() -> Iterator[Store]:
    opened = Store(create(EngineSpec("store", "local:")))
    yield opened
    opened.close()


def both(store: Store, local: Store, *requests: Any) -> list[list[Any]]:
    return [one.run(*requests) for one in (store, local)]


@QUICK
@given(st.lists(METADATA, min_size=1, max_size=6), st.lists(WHERES, min_size=1, max_size=4))
def test_filters_choose_what_they_choose_in_memory(
    store: Store, local: Store, metadata: list[dict[str, Any]], wheres: list[dict[str, Any]]
) -> None:
    docs = [Doc("x", f"d{i}", metadata=fields) for i, fields in enumerate(metadata)]
    vectors = np.ones((len(docs), 2), np.float32)
    both(store, local, delete(all=True))
    indexes = both(store, local, ingest(docs, vectors))
    assert indexes[0][0].outputs == indexes[1][0].outputs
    for where in wheres:
        request = search("", np.ones(2, np.float32), where=where)
        assert store.ids(request) == local.ids(request), where
    everything = search("", np.ones(2, np.float32))
    assert repr(store.value(everything)) == repr(local.value(everything))


@QUICK
@given(
    st.lists(st.tuples(WORDS, st.integers(0, 3)), min_size=1, max_size=12),
    WORDS,
    st.integers(0, 2**32 - 1),
    st.integers(0, 5),
    st.data(),
)
def test_every_mode_ranks_as_it_ranks_in_memory(
    store: Store,
    local: Store,
    texts: list[tuple[list[str], int]],
    query: list[str],
    seed: int,
    k: int,
    data: st.DataObject,
) -> None:
    rng = np.random.default_rng(seed)
    docs = [Doc(" ".join(words), f"d{i}", metadata={"n": n}) for i, (words, n) in enumerate(texts)]
    vectors = rng.integers(-2, 3, size=(len(docs), 3)).astype(np.float32)  # ties, some zero
    both(store, local, delete(all=True))
    both(store, local, ingest(docs, vectors))
    part = data.draw(st.sets(st.sampled_from(range(len(docs))), min_size=1))
    chosen = sorted(part)
    index = local.value(ingest([docs[i] for i in chosen], vectors[chosen]))
    assert store.value(ingest([docs[i] for i in chosen], vectors[chosen])) == index
    goal = rng.integers(-2, 3, size=3).astype(np.float32)
    for mode in ("vector", "bm25", "hybrid"):
        for where in (None, {"n": {"ge": 2}}):
            for scope in (None, index):
                request = search(" ".join(query), goal, scope, k=k, mode=mode, where=where)
                mine, theirs = store.value(request), local.value(request)
                if mode != "vector" and "qdrant" in store.engine.info.model:
                    assert len(mine) == len(theirs)  # it measures lengths by a fixed average
                    continue
                assert [doc.score for doc in mine] == pytest.approx(
                    [doc.score for doc in theirs], rel=1e-5, abs=1e-7
                ), (mode, where)
                if mode == "vector":
                    assert mine == theirs


@QUICK
@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans(), st.integers(0, 2)), max_size=8))
def test_any_changes_leave_what_they_leave_in_memory(
    store: Store, local: Store, steps: list[tuple[str, bool, int]]
) -> None:
    vector = np.ones((1, 2), np.float32)
    both(store, local, delete(all=True))
    for name, is_ingest, n in steps:
        doc = Doc(f"text {n}", name, metadata={"source": f"s{n}", "parent": "p" * n})
        named = delete([name, "p"] if n else [name], [f"s{n}"] if n == 2 else None)
        request = ingest([doc], vector) if is_ingest else named
        mine, theirs = both(store, local, request)
        assert mine[0].outputs == theirs[0].outputs
    everything = search("", vector[0], k=99)
    mine, theirs = store.value(everything), local.value(everything)
    assert sorted(map(repr, mine)) == sorted(map(repr, theirs))
