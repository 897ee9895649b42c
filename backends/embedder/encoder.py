"""Sentence vectors of a BERT: pooled over the tokens, unit length; and its token vectors.

Reimers and Gurevych, "Sentence-BERT", 2019. Shapes: N texts, T tokens, H hidden size.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from backends.bert import Bert, default_budget_tokens, load_bert
from backends.bert_tokens import BertTokenizer, TokenBatch, token_batches
from backends.errors import EngineUnavailable

Vectors = NDArray[np.float32]
Pooling = Callable[[Tensor, Tensor], Tensor]  # hidden [B, T, H], mask [B, T, 1] -> [B, H]


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """One text: unit vectors of its tokens, without [CLS] and [SEP], and of the whole."""

    tokens: Vectors  # [T, H]
    pooled: Vectors  # [H]


class SentenceEncoder:
    """Texts to vectors. Texts are cut at the model's trained length (256 tokens for MiniLM-L6).

    The empty text has a vector too.
    """

    def __init__(
        self, bert: Bert, tokenizer: BertTokenizer, pool: Pooling, budget_tokens: int
    ) -> None:
        self._bert = bert
        self._tokenizer = tokenizer
        self._pool = pool
        self._budget_tokens = budget_tokens

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors [N, H] in the order of `texts`."""
        vectors = np.zeros((len(texts), self._bert.hidden_size), np.float32)
        for batch, hidden in self._forward(texts):
            vectors[batch.rows] = self._unit_pool(batch, hidden)
        return vectors

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Unit vectors of each text's own tokens (none for ""), in the order of `texts`."""
        found: dict[int, TokenVectors] = {}
        for batch, hidden in self._forward(texts):
            pooled = self._unit_pool(batch, hidden)  # [B, H]
            tokens = F.normalize(hidden, dim=-1).cpu().numpy()  # [B, T, H]
            for i, row in enumerate(batch.rows):
                found[row] = TokenVectors(tokens[i, batch.words[i] == 1], pooled[i])
        return [found[row] for row in range(len(texts))]

    def _unit_pool(self, batch: TokenBatch, hidden: Tensor) -> Vectors:
        mask = torch.from_numpy(batch.mask).to(hidden)[:, :, None]  # [B, T, 1]
        pooled: Vectors = F.normalize(self._pool(hidden, mask), dim=-1).cpu().numpy()  # [B, H]
        return pooled

    def _forward(self, texts: Sequence[str]) -> Iterator[tuple[TokenBatch, Tensor]]:
        for batch in token_batches(self._tokenizer.encode(texts), self._budget_tokens):
            yield batch, self._bert.encode(batch.ids, batch.types, batch.mask).float()


def load_encoder(
    folder: Path,
    device: str | None = None,
    dtype: str = "float32",
    max_len: int | None = None,
    budget_tokens: int | None = None,
) -> SentenceEncoder:
    """The encoder of a Hugging Face folder; engines in this process share its weights."""
    bert = load_bert(folder, device, dtype)
    budget_tokens = budget_tokens or default_budget_tokens(bert)
    return SentenceEncoder(bert, BertTokenizer(folder, max_len), _pooling(folder), budget_tokens)


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    return (hidden * mask).sum(dim=1) / mask.sum(dim=1)  # [B, H]


def _first(hidden: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG001 - a Pooling
    return hidden[:, 0]  # [B, H], of [CLS]


_POOLINGS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": _mean,
    "pooling_mode_cls_token": _first,
}


def _pooling(folder: Path) -> Pooling:
    """How the model was trained to pool; the mean where its folder does not say."""
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return _mean
    config = json.loads(path.read_text(encoding="utf-8"))
    modes = [name for name, on in config.items() if name.startswith("pooling_mode_") and on]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise EngineUnavailable(f"{path} asks for {modes}; only one of {list(_POOLINGS)} runs here")
    return _POOLINGS[modes[0]]
