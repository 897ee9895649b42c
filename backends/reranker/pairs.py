"""What cross-encoders of every runtime share: how a pair goes in and a score comes out."""

from collections.abc import Callable, Sequence

import numpy as np

from backends.bert.tokens import BertTokenizer, Text, TextTokens
from backends.reranker.runner import Pair, Scores, Scoring

PairTemplate = Callable[[Pair], Text]


def template_of(text: str | None) -> PairTemplate:
    """One sequence with `{query}`, then `{text}`, filled in; None: two, told apart by types."""
    if text is None:
        return lambda pair: pair
    head, _, rest = text.partition("{query}")
    middle, _, tail = rest.partition("{text}")
    return lambda pair: f"{head}{pair[0]}{middle}{pair[1]}{tail}"


def read_pairs(
    tokenizer: BertTokenizer, template: PairTemplate, query: str, passages: Sequence[str]
) -> Scoring[TextTokens, np.float32]:
    """A text to compute for each passage, whose value is its score."""
    texts = tokenizer.encode([template((query, passage)) for passage in passages])
    return Scoring(texts, lambda values: np.array(values, np.float32))


def relevance(logits: Scores) -> Scores:
    """[B, 1] is a score already; of [B, 2] it is the log-odds of the second label."""
    return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
