"""The op `rerank`: passages by how well they answer a query."""

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from backends.base import Request, Result
from backends.bert.forward_passes import Job
from backends.reranker.ranking import inputs_of, ranked

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
        query, docs, k = inputs_of(request)
        scoring = self._scorer.read(query, [doc.text for doc in docs])

        def finish(values: Sequence[Value]) -> Result:
            scores = (round(float(score), _DECIMALS) for score in scoring.scores(values))
            return ranked(docs, scores, k)

        return Job(request, scoring.texts, finish)

    def compute(self, texts: Sequence[Text]) -> Sequence[Value]:
        return self._scorer.compute(texts)
