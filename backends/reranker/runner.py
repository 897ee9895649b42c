"""The op `rerank`: all pairs of all requests of a batch are scored together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from backends.base import Outcome, Request, Result, Usage
from backends.documents import Doc
from backends.errors import RequestRejected
from backends.text_check import check_texts

Pair = tuple[str, str]  # query, passage
Scores = NDArray[np.float32]

# Beyond this a score depends on what else was in its batch (the order of float additions), and
# equal passages would no longer tie.
_DECIMALS = 5


class Scorer(Protocol):
    """How well passages answer queries; higher is better."""

    def score(self, pairs: Sequence[Pair]) -> Scores:
        """One score a pair, in order: float32 [N]."""


class RerankRunner:
    """Fuses the pairs of several requests; a wrong request fails alone."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def run(self, requests: Sequence[Request]) -> list[Outcome]:
        read = [_read(request) for request in requests]
        pairs = [pair for job in read if isinstance(job, _Job) for pair in job.pairs]
        scores = self._scorer.score(pairs) if pairs else np.zeros(0, np.float32)
        outcomes: list[Outcome] = []
        start = 0
        for job in read:
            if isinstance(job, _Job):
                outcomes.append(job.result(scores[start : start + len(job.docs)]))
                start += len(job.docs)
            else:
                outcomes.append(job)
        return outcomes

    def close(self) -> None:
        """The weights go when the last engine that shares them does."""


@dataclass(frozen=True, slots=True)
class _Job:
    query: str
    docs: Sequence[Doc]
    k: int | None

    @property
    def pairs(self) -> list[Pair]:
        return [(self.query, doc.text) for doc in self.docs]

    def result(self, scores: Scores) -> Result:
        """Best first; documents of equal score keep the order they came in."""
        scored = [
            replace(doc, score=round(float(score), _DECIMALS))
            for doc, score in zip(self.docs, scores, strict=True)
        ]
        ranked = sorted(scored, key=lambda doc: -(doc.score or 0.0))
        return Result((ranked[: self.k],), Usage(num_items=len(scored)))


def _read(request: Request) -> _Job | RequestRejected:
    if request.op != "rerank":
        return RequestRejected(f"a reranker runs 'rerank', not {request.op!r}")
    if len(request.inputs) != 2:
        return RequestRejected(f"'rerank' takes a query and documents, got {request.inputs!r:.80}")
    query, docs = request.inputs
    k = request.attrs.get("k")
    if not isinstance(query, str):
        return RequestRejected(f"'rerank' takes a query str, got {type(query).__name__}")
    if not isinstance(docs, list | tuple) or not all(isinstance(doc, Doc) for doc in docs):
        return RequestRejected("'rerank' takes a list of Doc")
    if k is not None and (not isinstance(k, int) or k < 0):
        return RequestRejected(f"'rerank': k must be None or a count, got {k!r}")
    try:
        check_texts((query, *(doc.text for doc in docs)))
    except RequestRejected as error:
        return error
    return _Job(query, docs, k)
