"""Top-k selection and fusion whose results do not depend on what else ran in the batch.

Shapes: Q queries, R rows of the searched set, D dimensions, C candidates.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]
Vectors = NDArray[np.float32]
Hits = list[tuple[int, float]]  # (position in the set, score), best first

# A float32 product of unit vectors is off by less than this, whatever the shape of the product.
_PRODUCT_ERROR = 1e-5
_HYBRID_DEPTH = 100  # how far down each side of a hybrid search is ranked, at least
_RRF_CONSTANT = 60  # Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion", 2009


def top_k(scores: Scores, k: int) -> Hits:
    """The k best of [R], equal scores in order of position."""
    positions = _candidates(scores, k, margin=0.0)
    order = np.lexsort((positions, -scores[positions]))[:k]
    return [(int(positions[i]), float(scores[positions[i]])) for i in order]


def nearest(vectors: Vectors, queries: Vectors, ks: Sequence[int]) -> list[Hits]:
    """For each query of [Q, D] the k best rows of `vectors` [R, D] by cosine.

    One matrix product finds candidates. Its last bits depend on its shape, so that equal vectors
    could rank apart; the candidates' scores are computed again, each on its own, in float64.
    """
    rough = queries @ vectors.T  # [Q, R]
    return [
        _exact(vectors, query, _candidates(row, k, margin=2 * _PRODUCT_ERROR), k)
        for query, row, k in zip(queries, rough, ks, strict=True)
    ]


def fuse(rankings: Sequence[Hits], k: int) -> Hits:
    """Reciprocal rank fusion: the sum over rankings of 1 / (60 + rank), ranks from 1."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, (position, _) in enumerate(ranking, start=1):
            scores[position] = scores.get(position, 0.0) + 1 / (_RRF_CONSTANT + rank)
    return sorted(scores.items(), key=lambda hit: (-hit[1], hit[0]))[:k]


def depth_of(mode: str, k: int) -> int:
    """How many hits each side of a search must give."""
    return max(k, _HYBRID_DEPTH) if mode == "hybrid" else k


def _candidates(scores: Scores, k: int, margin: float) -> NDArray[np.intp]:
    """Positions of the k best and of all within `margin` below them."""
    if k >= len(scores):
        return np.arange(len(scores))
    if k == 0:
        return np.zeros(0, np.intp)
    kth = np.partition(scores, len(scores) - k)[len(scores) - k]
    return np.flatnonzero(scores >= kth - margin)


def _exact(vectors: Vectors, query: Vectors, positions: NDArray[np.intp], k: int) -> Hits:
    products = vectors[positions].astype(np.float64) * query.astype(np.float64)  # [C, D]
    exact = products.sum(axis=1)  # [C]
    return [(int(positions[i]), score) for i, score in top_k(exact, k)]
