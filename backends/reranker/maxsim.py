"""Late interaction: every query token looks for its best token in the passage.

Khattab and Zaharia, "ColBERT", 2020, here over an embedder's own last hidden state: score =
mean over query tokens of the best cosine + cosine of the whole texts, so it lies in [-2, 2].
"""

from collections.abc import Sequence

import numpy as np

from backends.embedder.encoder import SentenceEncoder, TokenVectors
from backends.reranker.runner import Pair, Scores


class MaxSim:
    """Needs no weights but the embedder's; every different text of a batch is encoded once."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        self._encoder = encoder

    def score(self, pairs: Sequence[Pair]) -> Scores:
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        vectors = dict(zip(texts, self._encoder.embed_tokens(texts), strict=True))
        return np.array(
            [late_interaction(vectors[query], vectors[passage]) for query, passage in pairs],
            np.float32,
        )


def late_interaction(query: TokenVectors, passage: TokenVectors) -> float:
    """Mean over the query's tokens of the best cosine, plus the cosine of the pooled vectors.

    [CLS] and [SEP] take no part; an empty text has no tokens, so its first term is 0.
    """
    whole = float(query.pooled @ passage.pooled)
    similarity = query.tokens @ passage.tokens.T  # [Tq, Tp]
    return whole + (float(similarity.max(axis=1).mean()) if similarity.size else 0.0)
