"""Sentence vectors of a BERT: pooled over the tokens, unit length; and its token vectors.

Reimers and Gurevych, "Sentence-BERT", 2019. Shapes: N texts, T tokens, H hidden size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backends.base import Tokens
from backends.bert.config import check_tokens
from backends.bert.encoder import Bert, load_bert
from backends.bert.options import BertOptions
from backends.bert.tokens import BertTokenizer, TextTokens, read_json
from backends.errors import EngineUnavailable

Vectors = NDArray[np.float32]
Pooling = Callable[[Vectors], Vectors]  # hidden [T, H] -> [H]


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """One text: unit vectors of its tokens, without [CLS] and [SEP], and of the whole."""

    tokens: Vectors  # [T, H]
    pooled: Vectors  # [H]


class SentenceEncoder:
    """Tokens to vectors. Texts are cut at the model's trained length (256 tokens for MiniLM-L6).

    The empty text has a vector too.
    """

    def __init__(
        self, bert: Bert, tokenizer: BertTokenizer, pool: Pooling, budget_tokens: int
    ) -> None:
        self.budget_tokens = budget_tokens
        self._bert = bert
        self._tokenizer = tokenizer
        self._pool = pool

    @property
    def hidden_size(self) -> int:
        return self._bert.config.hidden_size

    def read(self, texts: Sequence[str]) -> list[TextTokens]:
        """What `embed` and `embed_tokens` take, in the order of `texts`."""
        tokens = self._tokenizer.encode(list(texts))
        check_tokens(self._bert.config, tokens)
        return tokens

    def read_items(self, items: Sequence[str | Tokens]) -> list[TextTokens]:
        """The same, where token ids may stand for texts. Raises RequestRejected."""
        read = iter(self.read([item for item in items if isinstance(item, str)]))
        return [
            next(read) if isinstance(item, str) else self._tokenizer.marked(item.ids)
            for item in items
        ]

    def is_cut(self, text: TextTokens) -> bool:
        """The model reads its beginning only."""
        return text.is_cut

    def embed(self, texts: Sequence[TextTokens]) -> Vectors:
        """Unit vectors [N, H]."""
        return self._unit_pool(self._bert.encode(texts))

    def embed_tokens(self, texts: Sequence[TextTokens]) -> list[TokenVectors]:
        """Unit vectors of each text's own tokens (none for ""), and of the text."""
        states = self._bert.encode(texts)
        return [
            TokenVectors(_unit(hidden)[text.is_word], pooled)
            for text, hidden, pooled in zip(texts, states, self._unit_pool(states), strict=True)
        ]

    def _unit_pool(self, states: Sequence[Vectors]) -> Vectors:
        return _unit(np.stack([self._pool(hidden) for hidden in states]))  # [N, H]


def load_encoder(folder: Path, options: BertOptions) -> SentenceEncoder:
    """The encoder of a Hugging Face folder; engines in this process share its weights."""
    bert = load_bert(folder, options)
    tokenizer = BertTokenizer(folder, options.max_len)
    budget_tokens = options.budget_tokens or bert.budget_tokens
    return SentenceEncoder(bert, tokenizer, _pooling(folder), budget_tokens)


def _unit(vectors: Vectors) -> Vectors:
    """Rows [N, H] of length 1; zeros stay."""
    lengths = np.sqrt(np.square(vectors).sum(axis=-1, keepdims=True))  # [N, 1]
    units: Vectors = vectors / np.maximum(lengths, np.float32(1e-12))
    return units


def _mean(hidden: Vectors) -> Vectors:
    mean: Vectors = hidden.mean(axis=0)
    return mean


def _first(hidden: Vectors) -> Vectors:
    first: Vectors = hidden[0]  # of [CLS]
    return first


_POOLINGS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": _mean,
    "pooling_mode_cls_token": _first,
}


def _pooling(folder: Path) -> Pooling:
    """How the model was trained to pool; the mean where its folder does not say."""
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return _mean
    config = read_json(path)
    modes = [name for name, on in config.items() if name.startswith("pooling_mode_") and on]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise EngineUnavailable(f"{path} asks for {modes}; only one of {list(_POOLINGS)} runs here")
    return _POOLINGS[modes[0]]
