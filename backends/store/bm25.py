"""BM25 over exactly the searched set, so other documents never change a score. Engine: bm25s.

Robertson et al., 1994, in Lucene's form (k1 = 1.5, b = 0.75); English stop words are dropped.
"""

from collections.abc import Sequence
from typing import Any

import bm25s
import numpy as np
from numpy.typing import NDArray

from backends.store.words import words_of

Scores = NDArray[np.float32]


class Bm25:
    """The index of one set of texts; immutable."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._num_texts = len(texts)
        tokens = words_of(texts)
        self._index: Any = None  # bm25s cannot index a set without a single word
        if any(tokens):
            self._index = bm25s.BM25()
            self._index.index(tokens, show_progress=False)

    def scores(self, query: str) -> Scores:
        """One score a text, 0 where no word of the query occurs: [R]."""
        (words,) = words_of([query])
        vocabulary = self._index.vocab_dict if self._index else {}
        known = [word for word in words if word and word in vocabulary]
        if not known:
            return np.zeros(self._num_texts, np.float32)
        scores: Scores = self._index.get_scores(known)
        return scores
