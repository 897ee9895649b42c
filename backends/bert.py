"""The BERT encoder in torch, for embedders, late interaction and cross-encoders alike.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2019. Inference only.
Shapes: B texts, T tokens (padded), H hidden size, N heads, D = H / N.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from backends.bert_tokens import Ids
from backends.errors import EngineUnavailable

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
}


@dataclass(frozen=True, slots=True)
class BertConfig:
    """The fields of a `config.json` that the computation needs."""

    num_layers: int
    num_heads: int
    layer_norm_eps: float
    activation: str
    max_positions: int
    num_labels: int  # 0 for a plain encoder


class Bert:
    """The weights of one BERT on one device; immutable, so threads and engines may share it."""

    def __init__(self, config: BertConfig, weights: dict[str, Tensor]) -> None:
        self.config = config
        self._weights = weights
        self._words = weights["embeddings.word_embeddings.weight"]  # [vocabulary, H]
        self._activate = _ACTIVATIONS[config.activation]

    @property
    def is_on_cpu(self) -> bool:
        return self._words.device.type == "cpu"

    @property
    def hidden_size(self) -> int:
        return self._words.shape[1]

    @torch.inference_mode()
    def encode(self, ids: Ids, types: Ids, mask: Ids) -> Tensor:
        """The last hidden state [B, T, H]; all three are [B, T], the mask 1 for a token."""
        hidden = self._embed(self._tensor(ids), self._tensor(types))  # [B, T, H]
        visible = self._tensor(mask)[:, None, None, :].bool()  # [B, 1, 1, T]
        for layer in range(self.config.num_layers):
            hidden = self._layer(f"encoder.layer.{layer}", hidden, visible)
        return hidden

    @torch.inference_mode()
    def classify(self, ids: Ids, types: Ids, mask: Ids) -> Tensor:
        """The logits [B, num_labels] of a sequence classifier."""
        first = self.encode(ids, types, mask)[:, 0]  # [B, H]
        return self._linear("classifier", torch.tanh(self._linear("pooler.dense", first)))

    def _tensor(self, array: Ids) -> Tensor:
        return torch.from_numpy(array).to(self._words.device)

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


def default_budget_tokens(bert: Bert) -> int:
    """Tokens of one pass: few on a CPU, where wide batches fall out of its caches (measured)."""
    return 2048 if bert.is_on_cpu else 65536


_loaded: WeakValueDictionary[tuple[Path, str, str], Bert] = WeakValueDictionary()
_loading = threading.Lock()


def load_bert(folder: Path, device: str | None = None, dtype: str = "float32") -> Bert:
    """The BERT of a Hugging Face folder; loaded once a device and dtype while anyone holds it.

    `device` None means CUDA where there is one. Raises EngineUnavailable.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    key = (folder.resolve(), device, dtype)
    with _loading:
        bert = _loaded.get(key)
        if bert is None:
            bert = _loaded[key] = _load(folder, device, getattr(torch, dtype))
        return bert


def _load(folder: Path, device: str, dtype: torch.dtype) -> Bert:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        stored = load_file(folder / "model.safetensors", device=device)
    except (OSError, ValueError) as error:
        raise EngineUnavailable(f"{folder} holds no BERT model: {error}") from error
    weights = {
        _plain_name(name): tensor.to(dtype)
        for name, tensor in stored.items()
        if tensor.is_floating_point()
    }
    return Bert(_read_config(folder, config, weights), weights)


def _plain_name(name: str) -> str:
    """Without the `bert.` that heads put before it, and in the names of today."""
    return (
        name.removeprefix("bert.")
        .replace("LayerNorm.gamma", "LayerNorm.weight")
        .replace("LayerNorm.beta", "LayerNorm.bias")
    )


def _read_config(folder: Path, config: dict[str, Any], weights: dict[str, Tensor]) -> BertConfig:
    if config.get("model_type") != "bert":
        raise EngineUnavailable(
            f"{folder} holds a {config.get('model_type')!r} model; only 'bert' runs here"
        )
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise EngineUnavailable(f"{folder}: only absolute position embeddings run here")
    if config["hidden_act"] not in _ACTIVATIONS:
        raise EngineUnavailable(f"{folder}: unknown activation {config['hidden_act']!r}")
    head = weights.get("classifier.weight")  # [num_labels, H]
    return BertConfig(
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        layer_norm_eps=config.get("layer_norm_eps", 1e-12),
        activation=config["hidden_act"],
        max_positions=config["max_position_embeddings"],
        num_labels=0 if head is None else head.shape[0],
    )
