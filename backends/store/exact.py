"""Exact order of approximate scores: candidates come from a server, the last bits from here."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from backends.store.collection import Vectors
from backends.store.ranking import Hits

MARGIN = 2e-5  # scores that a server computed in float32 are off by less
_SPARE = 8  # candidates beyond k, for equal scores at the end


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row with the score that the server found."""

    row: int  # rows that were written earlier have smaller numbers
    score: float
    vector: Vectors  # [D]


CandidateT = TypeVar("CandidateT", bound=Candidate)
Fetch = Callable[[int], Awaitable[Sequence[CandidateT]]]


async def candidates(fetch: Fetch[CandidateT], k: int) -> Sequence[CandidateT]:
    """What `fetch` finds, best first, until nothing that it left out could be among the best k."""
    limit = k + _SPARE
    while k:
        found = await fetch(limit)
        if len(found) < limit or found[-1].score < found[k - 1].score - MARGIN:
            return found
        limit *= 2
    return []


def best(found: Sequence[Candidate], query: Vectors, k: int) -> Hits:
    """The k best by cosine in float64, equal scores in the order of writing."""
    wide = query.astype(np.float64)
    exact = [(one.row, float((one.vector.astype(np.float64) * wide).sum())) for one in found]
    return sorted(exact, key=lambda hit: (-hit[1], hit[0]))[:k]
