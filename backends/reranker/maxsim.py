"""Late interaction: every query token looks for its best token in the passage.

Khattab and Zaharia, "ColBERT", 2020, here over an embedder's own last hidden state: score =
mean over query tokens of the best cosine + cosine of the whole texts, so it lies in [-2, 2].
"""

from collections.abc import Sequence

import numpy as np

from backends.bert.tokens import TextTokens
from backends.embedder.encoder import SentenceEncoder, TokenVectors
from backends.reranker.runner import Scores, Scoring


class MaxSim:
    """Needs no weights but the embedder's; every different text of a request is encoded once."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        self.budget_tokens = encoder.budget_tokens
        self._encoder = encoder

    def read(self, query: str, passages: Sequence[str]) -> Scoring[TextTokens, TokenVectors]:
        texts = list(dict.fromkeys((query, *passages))) if passages else []

        def scores(values: Sequence[TokenVectors]) -> Scores:
            vectors = dict(zip(texts, values, strict=True))
            each = [late_interaction(vectors[query], vectors[passage]) for passage in passages]
            return np.array(each, np.float32)

        return Scoring(self._encoder.read(texts), scores)

    def compute(self, texts: Sequence[TextTokens]) -> Sequence[TokenVectors]:
        return self._encoder.embed_tokens(texts)


def late_interaction(query: TokenVectors, passage: TokenVectors) -> float:
    """Mean over the query's tokens of the best cosine, plus the cosine of the pooled vectors.

    [CLS] and [SEP] take no part; an empty text has no tokens, so its first term is 0.
    """
    whole = float(query.pooled @ passage.pooled)
    similarity = query.tokens @ passage.tokens.T  # [Tq, Tp]
    return whole + (float(similarity.max(axis=1).mean()) if similarity.size else 0.0)
