"""A Llama in plain torch float32, for tests: full attention over a list of keys and values, of
which any rows are computed and the others given."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from backends.llm.model.config import ModelConfig
from backends.llm.model.rope import frequencies

Layers = list[tuple[Tensor, Tensor]]  # keys [N, K, D] by their positions, and values


@dataclass
class PlainLlama:
    """Weights by their Hugging Face names."""

    config: ModelConfig
    weights: dict[str, Tensor]

    def kv(self, ids: list[int], before: Layers | None = None) -> Layers:
        """Of `ids` behind what is there."""
        start = len(before[0][0]) if before else 0
        kv = joined(*([before] if before else []), self.empty(len(ids)))
        self.compute(ids, list(range(start, start + len(ids))), kv)
        return [(k[start:], v[start:]) for k, v in kv]

    def compute(self, ids: list[int], rows: list[int], kv: Layers) -> Tensor:
        """Logits [A, V] of tokens `ids` at positions `rows` [A], whose KV is written to `kv`; each
        sees all keys at no higher position."""
        at = torch.tensor(rows)
        visible = torch.arange(len(kv[0][0])) <= at[:, None]  # [A, N]
        x = F.embedding(torch.tensor(ids), self.weights["model.embed_tokens.weight"])
        for i, (keys, values) in enumerate(kv):
            weights = self._layer(i)
            normed = self._norm(x, weights["input_layernorm.weight"])
            q, k, v = (self._heads(normed, weights, name) for name in "qkv")
            keys[at], values[at] = self.turned(k, at), v
            heads = self._attention(self.turned(q, at), keys, values, visible)
            x = x + F.linear(heads, weights["self_attn.o_proj.weight"])
            normed = self._norm(x, weights["post_attention_layernorm.weight"])
            gate, up = (F.linear(normed, weights[f"mlp.{n}_proj.weight"]) for n in ("gate", "up"))
            x = x + F.linear(F.silu(gate) * up, weights["mlp.down_proj.weight"])
        return F.linear(self._norm(x, self.weights["model.norm.weight"]), self._head)

    def empty(self, num_tokens: int) -> Layers:
        """Room for as many."""
        shape = (num_tokens, self.config.num_kv_heads, self.config.head_dim)
        return [(torch.zeros(shape), torch.zeros(shape)) for _ in range(self.config.num_layers)]

    def moved(self, kv: Layers, distance: int) -> Layers:
        """The same tokens `distance` places further on, turned in double precision."""
        places = torch.full((len(kv[0][0]),), distance)
        return [(self.turned(k.double(), places).float(), v) for k, v in kv]

    def turned(self, x: Tensor, places: Tensor) -> Tensor:
        """x [T, H, D] by `places` [T]."""
        steps = torch.from_numpy(frequencies(self.config)).to(x.dtype)  # [D / 2]
        angles = (places.to(x.dtype)[:, None] * steps)[:, None]  # [T, 1, D / 2]
        low, high = x.chunk(2, dim=-1)
        cos, sin = angles.cos(), angles.sin()
        return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)

    @property
    def _head(self) -> Tensor:
        tied = self.config.tied_embeddings
        return self.weights["model.embed_tokens.weight" if tied else "lm_head.weight"]

    def _layer(self, i: int) -> dict[str, Tensor]:
        prefix = f"model.layers.{i}."
        return {n.removeprefix(prefix): w for n, w in self.weights.items() if n.startswith(prefix)}

    def _heads(self, x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
        projected = F.linear(x, weights[f"self_attn.{name}_proj.weight"])
        return projected.view(len(x), -1, self.config.head_dim)

    def _attention(self, q: Tensor, keys: Tensor, values: Tensor, visible: Tensor) -> Tensor:
        group = self.config.num_heads // self.config.num_kv_heads
        k, v = (x.repeat_interleave(group, dim=1) for x in (keys, values))  # [N, H, D]
        scores = torch.einsum("ahd,nhd->han", q, k) / self.config.head_dim**0.5
        weights = scores.masked_fill(~visible, -torch.inf).softmax(-1)  # [H, A, N]
        return torch.einsum("han,nhd->ahd", weights, v).flatten(1)

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, self.config.rms_eps)


def joined(*parts: Layers) -> Layers:
    """All of them, one behind the other."""
    return [
        (torch.cat([k for k, _ in layers]), torch.cat([v for _, v in layers]))
        for layers in zip(*parts, strict=True)
    ]


def plain_llama(loaded: Any) -> PlainLlama:
    """Of a model that the tests' conftest loaded."""
    found = loaded.found
    return PlainLlama(found.config, found.load(torch.float32, torch.device("cpu")))
