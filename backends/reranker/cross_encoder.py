"""Cross-encoders: query and passage are read together by one BERT with a score on top.

Nogueira and Cho, "Passage Re-ranking with BERT", 2019.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from backends.bert.config import check_tokens
from backends.bert.encoder import Bert, load_bert
from backends.bert.options import BertOptions
from backends.bert.tokens import BertTokenizer, TextTokens
from backends.errors import EngineUnavailable
from backends.reranker.pairs import PairTemplate, read_pairs, relevance
from backends.reranker.runner import Scoring


class CrossEncoder:
    """A BertForSequenceClassification: the one logit, or the difference of yes and no."""

    def __init__(
        self, bert: Bert, tokenizer: BertTokenizer, template: PairTemplate, budget_tokens: int
    ) -> None:
        self.budget_tokens = budget_tokens
        self._bert = bert
        self._tokenizer = tokenizer
        self._template = template

    def read(self, query: str, passages: Sequence[str]) -> Scoring[TextTokens, np.float32]:
        scoring = read_pairs(self._tokenizer, self._template, query, passages)
        check_tokens(self._bert.config, scoring.texts)
        return scoring

    def compute(self, texts: Sequence[TextTokens]) -> Sequence[np.float32]:
        return list(relevance(self._bert.classify(texts)))


def load_cross_encoder(folder: Path, options: BertOptions, template: PairTemplate) -> CrossEncoder:
    """The cross-encoder of a Hugging Face folder. Raises EngineUnavailable when it is not one."""
    bert = load_bert(folder, options)
    if bert.config.num_labels not in (1, 2):
        raise EngineUnavailable(
            f"{folder} is no cross-encoder: its BERT has {bert.config.num_labels} labels, "
            "not 1 (a score) or 2 (no and yes)"
        )
    tokenizer = BertTokenizer(folder, options.max_len)
    return CrossEncoder(bert, tokenizer, template, options.budget_tokens or bert.budget_tokens)
