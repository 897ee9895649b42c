"""The BERT encoder in torch: for CUDA, and for CPUs that the kernels do not know.

Shapes: B texts, T tokens (padded), H hidden size, N heads, D = H / N.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from backends.bert.config import BertConfig, check_tokens
from backends.bert.tokens import PaddedBatch, TextTokens, padded_batches

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
}


class TorchBert:
    """Immutable. A pass is cut into batches of like length, so that little of them is padding."""

    def __init__(self, config: BertConfig, weights: Mapping[str, Tensor]) -> None:
        self.config = config
        self._weights = weights
        self._words = weights["embeddings.word_embeddings.weight"]  # [vocabulary, H]
        self._activate = _ACTIVATIONS[config.activation]
        is_on_cpu = self._words.device.type == "cpu"
        self.budget_tokens = 2048 if is_on_cpu else 65536  # wide passes fall out of CPU caches

    @torch.inference_mode()
    def encode(self, texts: Sequence[TextTokens]) -> list[NDArray[np.float32]]:
        check_tokens(self.config, texts)
        states: dict[int, NDArray[np.float32]] = {}
        for batch in padded_batches(texts, sum(map(len, texts))):
            hidden = self._hidden(batch).float().cpu().numpy()  # [B, T, H]
            for i, row in enumerate(batch.rows):
                states[row] = hidden[i, : len(texts[row])]
        return [states[row] for row in range(len(texts))]

    @torch.inference_mode()
    def classify(self, texts: Sequence[TextTokens]) -> NDArray[np.float32]:
        check_tokens(self.config, texts)
        logits = np.zeros((len(texts), self.config.num_labels), np.float32)
        for batch in padded_batches(texts, sum(map(len, texts))):
            first = self._hidden(batch)[:, 0]  # [B, H]
            pooled = torch.tanh(self._linear("pooler.dense", first))
            logits[batch.rows] = self._linear("classifier", pooled).float().cpu().numpy()
        return logits

    def _hidden(self, batch: PaddedBatch) -> Tensor:
        device = self._words.device
        ids, types, mask = (
            torch.from_numpy(array).to(device) for array in (batch.ids, batch.types, batch.mask)
        )
        hidden = self._embed(ids, types)  # [B, T, H]
        visible = mask[:, None, None, :].bool()  # [B, 1, 1, T]
        for layer in range(self.config.num_layers):
            hidden = self._layer(f"encoder.layer.{layer}", hidden, visible)
        return hidden

    def _embed(self, ids: Tensor, types: Tensor) -> Tensor:
        words = F.embedding(ids, self._words)
        kinds = F.embedding(types, self._weights["embeddings.token_type_embeddings.weight"])
        positions = self._weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
        return self._norm("embeddings.LayerNorm", words + kinds + positions)

    def _layer(self, name: str, hidden: Tensor, visible: Tensor) -> Tensor:
        attended = self._linear(
            f"{name}.attention.output.dense", self._attend(name, hidden, visible)
        )
        hidden = self._norm(f"{name}.attention.output.LayerNorm", hidden + attended)
        inner = self._activate(self._linear(f"{name}.intermediate.dense", hidden))  # [B, T, 4H]
        return self._norm(
            f"{name}.output.LayerNorm", hidden + self._linear(f"{name}.output.dense", inner)
        )

    def _attend(self, name: str, hidden: Tensor, visible: Tensor) -> Tensor:
        batch, length, width = hidden.shape
        query, key, value = (
            self._linear(f"{name}.attention.self.{part}", hidden)
            .view(batch, length, self.config.num_heads, -1)
            .transpose(1, 2)  # [B, N, T, D]
            for part in ("query", "key", "value")
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        return mixed.transpose(1, 2).reshape(batch, length, width)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return F.layer_norm(x, (x.shape[-1],), weight, bias, self.config.layer_norm_eps)
