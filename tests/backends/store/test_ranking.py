"""Top-k, exact cosine and rank fusion as pure functions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from backends.store.collection import unit_vectors
from backends.store.ranking import fuse, nearest, top_k

SCORES = arrays.arrays(np.float64, st.integers(0, 30), elements=st.integers(-3, 3).map(float))


@given(SCORES, st.integers(0, 40))
def test_top_k_is_a_stable_sort_cut_at_k(scores: np.ndarray, k: int) -> None:
    expected = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]
    assert [position for position, _ in top_k(scores, k)] == expected


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 8), st.integers(0, 70))
def test_nearest_is_brute_force(seed: int, rows: int, dimensions: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    pool = rng.normal(size=(max(1, rows // 2), dimensions)).astype(np.float32)
    vectors = unit_vectors(pool[rng.integers(0, len(pool), rows)])  # many equal: ties
    query = unit_vectors(rng.normal(size=(1, dimensions)).astype(np.float32))
    cosines = [
        float((row.astype(np.float64) * query[0].astype(np.float64)).sum()) for row in vectors
    ]
    expected = sorted(range(rows), key=lambda i: (-cosines[i], i))[:k]
    (hits,) = nearest(vectors, query, [k])
    assert [position for position, _ in hits] == expected
    assert [score for _, score in hits] == pytest.approx([cosines[i] for i in expected])


def test_a_query_finds_the_same_alone_and_among_others() -> None:
    rng = np.random.default_rng(0)
    vectors = unit_vectors(rng.normal(size=(500, 64)).astype(np.float32))
    vectors = np.concatenate([vectors, vectors])  # every row has an equal one
    queries = unit_vectors(rng.normal(size=(17, 64)).astype(np.float32))
    together = nearest(vectors, queries, [20] * 17)
    alone = [nearest(vectors, query[None], [20])[0] for query in queries]
    assert together == alone


def test_rows_that_differ_in_the_last_bits_are_ranked_exactly() -> None:
    rng = np.random.default_rng(3)
    base = rng.normal(size=64)
    near = (base + rng.normal(size=(300, 64)) * 3e-8).astype(np.float32)
    queries = unit_vectors(rng.normal(size=(20, 64)).astype(np.float32))
    exact = (queries.astype(np.float64)[:, None] * near.astype(np.float64)).sum(axis=2)
    for row, hits in zip(exact, nearest(near, queries, [3] * 20), strict=True):
        best = sorted(range(300), key=lambda i: (-row[i], i))[:3]
        assert [position for position, _ in hits] == best


def test_fusion_sums_reciprocal_ranks() -> None:
    near, words = [(7, 0.9), (3, 0.8), (5, 0.1)], [(5, 12.0), (7, 3.0)]
    assert fuse([near, words], 2) == [
        (7, pytest.approx(1 / 61 + 1 / 62)),
        (5, pytest.approx(1 / 63 + 1 / 61)),
    ]


def test_fused_ties_go_by_position() -> None:
    assert [position for position, _ in fuse([[(2, 1.0)], [(1, 1.0)]], 5)] == [1, 2]
