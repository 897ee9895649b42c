"""The op `rerank`: passages by how well they answer a query."""

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from backends.base import Request, Result, Usage
from backends.documents import Doc
from backends.errors import RequestRejected
from backends.forward_passes import Job
from backends.text_check import check_texts

Pair = tuple[str, str]  # query, passage
Scores = NDArray[np.float32]
Text = TypeVar("Text", bound=Sized)
Value = TypeVar("Value")

# In torch, a score depends beyond this on what else was in its batch (the order of float
# additions), and equal passages would no longer tie.
_DECIMALS = 5


@dataclass(frozen=True, slots=True)
class Scoring(Generic[Text, Value]):
    """The texts to compute for passages, and what their values say: a score each, float32 [N]."""

    texts: Sequence[Text]
    scores: Callable[[Sequence[Value]], Scores]


class Scorer(Protocol[Text, Value]):
    """How well passages answer queries; higher is better."""

    budget_tokens: int  # of a pass

    def read(self, query: str, passages: Sequence[str]) -> Scoring[Text, Value]:
        """What to compute for one query."""

    def compute(self, texts: Sequence[Text]) -> Sequence[Value]:
        """One value a text, in order."""


class RerankRunner(Generic[Text, Value]):
    """What the passes of a reranker compute."""

    def __init__(self, scorer: Scorer[Text, Value]) -> None:
        self.budget_tokens = scorer.budget_tokens
        self._scorer = scorer

    def read(self, request: Request) -> Job[Text, Value]:
        query, docs, k = _inputs_of(request)
        scoring = self._scorer.read(query, [doc.text for doc in docs])

        def finish(values: Sequence[Value]) -> Result:
            return _ranked(docs, scoring.scores(values), k)

        return Job(request, scoring.texts, finish)

    def compute(self, texts: Sequence[Text]) -> Sequence[Value]:
        return self._scorer.compute(texts)


def _ranked(docs: Sequence[Doc], scores: Scores, k: int | None) -> Result:
    """Best first; documents of equal score keep the order they came in."""
    scored = [
        replace(doc, score=round(float(score), _DECIMALS))
        for doc, score in zip(docs, scores, strict=True)
    ]
    ranked = sorted(scored, key=lambda doc: -(doc.score or 0.0))
    return Result((ranked[:k],), Usage(num_items=len(scored)))


def _inputs_of(request: Request) -> tuple[str, Sequence[Doc], int | None]:
    if request.op != "rerank":
        raise RequestRejected(f"a reranker runs 'rerank', not {request.op!r}")
    if len(request.inputs) != 2:
        raise RequestRejected(f"'rerank' takes a query and documents, got {request.inputs!r:.80}")
    query, docs = request.inputs
    k = request.attrs.get("k")
    if not isinstance(query, str):
        raise RequestRejected(f"'rerank' takes a query str, got {type(query).__name__}")
    if not isinstance(docs, list | tuple) or not all(isinstance(doc, Doc) for doc in docs):
        raise RequestRejected("'rerank' takes a list of Doc")
    if k is not None and (not isinstance(k, int) or k < 0):
        raise RequestRejected(f"'rerank': k must be None or a count, got {k!r}")
    check_texts((query, *(doc.text for doc in docs)))
    return query, docs, k
