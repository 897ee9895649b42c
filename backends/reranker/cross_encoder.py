"""Cross-encoders: query and passage are read together by one BERT with a score on top.

Nogueira and Cho, "Passage Re-ranking with BERT", 2019.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from backends.bert import Bert, default_budget_tokens, load_bert
from backends.bert_tokens import BertTokenizer, Text, token_batches
from backends.errors import EngineUnavailable
from backends.reranker.pairs import PairTemplate, relevance
from backends.reranker.runner import Pair, Scores


class CrossEncoder:
    """A BertForSequenceClassification: the one logit, or the difference of yes and no."""

    def __init__(
        self, bert: Bert, tokenizer: BertTokenizer, template: PairTemplate, budget_tokens: int
    ) -> None:
        self._bert = bert
        self._tokenizer = tokenizer
        self._template = template
        self._budget_tokens = budget_tokens

    def score(self, pairs: Sequence[Pair]) -> Scores:
        texts: list[Text] = [self._template(pair) for pair in pairs]
        scores = np.zeros(len(pairs), np.float32)
        for batch in token_batches(self._tokenizer.encode(texts), self._budget_tokens):
            logits = self._bert.classify(batch.ids, batch.types, batch.mask)  # [B, 1 or 2]
            scores[batch.rows] = relevance(logits.float().cpu().numpy())
        return scores


def load_cross_encoder(
    folder: Path,
    device: str | None,
    dtype: str,
    max_len: int | None,
    template: PairTemplate,
    budget_tokens: int | None,
) -> CrossEncoder:
    """The cross-encoder of a Hugging Face folder. Raises EngineUnavailable when it is not one."""
    bert = load_bert(folder, device, dtype)
    if bert.config.num_labels not in (1, 2):
        raise EngineUnavailable(
            f"{folder} is no cross-encoder: its BERT has {bert.config.num_labels} labels, "
            "not 1 (a score) or 2 (no and yes)"
        )
    tokenizer = BertTokenizer(folder, max_len)
    return CrossEncoder(bert, tokenizer, template, budget_tokens or default_budget_tokens(bert))
