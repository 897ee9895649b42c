"""Llama and Qwen2 forward over a ragged batch: norms, rotary GQA over paged KV, SwiGLU."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from backends.llm.lora.adapter import LoadedAdapter
from backends.llm.lora.segments import AdapterRows, add_deltas, plan_adapters
from backends.llm.model.batch import Floats, Ints, StepBatch, StepOutput
from backends.llm.model.config import ModelConfig
from backends.llm.model.torch_model.attention import AttentionPlan, attend, plan_attention
from backends.llm.model.torch_model.kv_pool import KVPool
from backends.llm.model.torch_model.rotary import Rope, rotate
from backends.llm.model.weights import ROPE_FACTORS
from backends.llm.sample.top_k_top_p import likeliest

LINKED_LAYERS = 8  # at once: few launches, and copies of little memory


@dataclass(frozen=True, slots=True)
class LaunchedLogits:
    """Logits [W, V], on a device perhaps not yet computed."""

    logits: Tensor
    with_logits: Ints  # [R]: places of those that are wanted themselves
    masses: tuple[Tensor, ...] = ()

    @torch.inference_mode()
    def collect(self) -> StepOutput:
        """Waits for the device."""
        tokens = likeliest(self.logits).cpu().numpy()  # [W]
        masses = tuple(mass.cpu().numpy() for mass in self.masses)
        if not len(self.with_logits):
            return StepOutput(tokens, None, masses)
        if len(self.with_logits) == len(self.logits):
            return StepOutput(tokens, self.logits, masses)
        places = torch.from_numpy(self.with_logits).to(self.logits.device)
        return StepOutput(tokens, self.logits[places], masses)


@dataclass(frozen=True, slots=True)
class Layer:
    """Weights of one layer; projections that read the same input are one matrix."""

    attention_norm: Tensor  # [E]
    qkv: Tensor  # [(H + 2K) * D, E]
    qkv_bias: Tensor | None  # [(H + 2K) * D]
    out: Tensor  # [E, H * D]
    mlp_norm: Tensor  # [E]
    gate_up: Tensor  # [2F, E]
    down: Tensor  # [E, F]


class LlamaModel:
    """Takes the tensors out of `weights` (Hugging Face names) so that none is held twice."""

    def __init__(self, config: ModelConfig, weights: dict[str, Tensor]) -> None:
        self.config = config
        self.embedding = weights.pop("model.embed_tokens.weight")  # [V, E]
        self.norm = weights.pop("model.norm.weight")  # [E]
        self.head = self.embedding  # [V, E]
        if not config.tied_embeddings:
            self.head = weights.pop("lm_head.weight")
        self.rope = Rope(config, self.device, weights.pop(ROPE_FACTORS, None))
        self.layers = [_take_layer(weights, i) for i in range(config.num_layers)]

    @property
    def device(self) -> torch.device:
        return self.embedding.device

    @property
    def dtype(self) -> torch.dtype:
        return self.embedding.dtype

    @property
    def layout(self) -> str:
        return f"torch {self.device.type} {self.dtype} @ {torch.__version__}"

    def make_pool(self, num_pages: int, page_size: int) -> KVPool:
        """The KV memory this model reads and writes."""
        return KVPool(self.config, num_pages, page_size, self.dtype, self.device)

    @property
    def frequencies(self) -> Floats:
        return self.rope.frequencies

    def read(
        self, kv: KVPool, layer: int, pages: list[int], first: int, num_tokens: int
    ) -> tuple[Floats, Floats]:
        """Keys and values [T, K, D] of tokens `first` on."""
        both = kv.read_slots(slice(layer, layer + 1), kv.slots(pages, first, num_tokens))
        k, v = both[:, 0].float().cpu().numpy()
        return k, v

    @torch.inference_mode()
    def link(
        self,
        kv: KVPool,
        pages: list[int],
        first: int,
        to_pages: list[int],
        to: int,
        num_tokens: int,
    ) -> None:
        """Copy tokens' KV to other places, keys turned by as many."""
        places = torch.arange(num_tokens, device=self.device)
        cos, sin = self.rope.turns(first + places, to + places)  # [T, 1, D] each
        source = kv.slots(pages, first, num_tokens)
        target = kv.slots(to_pages, to, num_tokens)
        for i in range(0, self.config.num_layers, LINKED_LAYERS):
            layers = slice(i, i + LINKED_LAYERS)
            k, v = kv.read_slots(layers, source)  # [L, T, K, D] each
            kv.write_slots(layers, target, rotate(k.float(), cos, sin).to(k.dtype), v)

    def adapter_bytes(self, adapter: LoadedAdapter) -> int:
        """What an adapter takes in memory."""
        return adapter.num_bytes

    @torch.inference_mode()
    def launch(self, batch: StepBatch, kv: KVPool) -> LaunchedLogits:
        """Run a step."""
        plan = plan_attention(batch, kv.page_size, self.device)
        masses = tuple(watched.mass for watched in plan.watched)
        return LaunchedLogits(self._logits(batch, kv, plan), batch.with_logits, masses)

    def _logits(self, batch: StepBatch, kv: KVPool, plan: AttentionPlan) -> Tensor:
        """Writes the step's KV; logits [W, V] (float32) of the wanted rows."""
        lora = plan_adapters(batch, self.device)
        x = F.embedding(torch.from_numpy(batch.tokens).to(self.device), self.embedding)  # [T, E]
        cos, sin = self.rope.angles(torch.from_numpy(batch.positions).to(self.device))  # [T, 1, D]
        for i, layer in enumerate(self.layers[: batch.stop_layer]):
            x = x + self._attention(x, i, layer, cos, sin, kv, plan, lora)
            x = x + self._mlp(x, i, layer, lora)
        if (stop := batch.stop_layer) is not None:
            self._queries(x, stop, self.layers[stop], cos, sin, kv, plan, lora)
            return x.new_empty(0, len(self.head)).float()
        wanted = torch.from_numpy(batch.wanted).to(self.device)  # [W]
        rows = self._norm(x[wanted], self.norm)  # [W, E]
        return F.linear(rows, self.head).float()

    def _attention(
        self,
        x: Tensor,
        i: int,
        layer: Layer,
        cos: Tensor,
        sin: Tensor,
        kv: KVPool,
        plan: AttentionPlan,
        lora: tuple[AdapterRows, ...],
    ) -> Tensor:
        q = self._queries(x, i, layer, cos, sin, kv, plan, lora)  # [T, H, D]
        attended = attend(q, i, kv, plan)  # [T, H * D]
        return add_deltas(F.linear(attended, layer.out), attended, lora, i, "out")  # [T, E]

    def _queries(
        self,
        x: Tensor,
        i: int,
        layer: Layer,
        cos: Tensor,
        sin: Tensor,
        kv: KVPool,
        plan: AttentionPlan,
        lora: tuple[AdapterRows, ...],
    ) -> Tensor:
        """Writes keys and values."""
        num_heads, num_kv_heads = self.config.num_heads, self.config.num_kv_heads
        normed = self._norm(x, layer.attention_norm)  # [T, E]
        qkv = F.linear(normed, layer.qkv, layer.qkv_bias)  # [T, (H + 2K) * D]
        add_deltas(qkv, normed, lora, i, "qkv")
        heads = qkv.view(len(x), -1, self.config.head_dim)  # [T, H + 2K, D]
        turned = rotate(heads[:, : num_heads + num_kv_heads], cos, sin)  # [T, H + K, D]
        q, k = turned[:, :num_heads], turned[:, num_heads:]  # [T, H, D], [T, K, D]
        kv.write(i, plan.slots, k, heads[:, num_heads + num_kv_heads :])
        for watched in plan.watched:
            watched.look(q, i, kv)
        return q

    def _mlp(self, x: Tensor, i: int, layer: Layer, lora: tuple[AdapterRows, ...]) -> Tensor:
        normed = self._norm(x, layer.mlp_norm)  # [T, E]
        gate_up = add_deltas(F.linear(normed, layer.gate_up), normed, lora, i, "gate_up")  # [T, 2F]
        gate, up = gate_up.chunk(2, dim=-1)  # [T, F] both
        wide = F.silu(gate) * up  # [T, F]
        return add_deltas(F.linear(wide, layer.down), wide, lora, i, "down")  # [T, E]

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        wide = x.float()  # [T, E]
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.config.rms_eps)  # [T, 1]
        return (wide * scale).to(x.dtype) * weight


def _take_layer(weights: dict[str, Tensor], i: int) -> Layer:
    prefix = f"model.layers.{i}."

    def take(name: str) -> Tensor:
        return weights.pop(prefix + name)

    def join(names: list[str]) -> Tensor:
        return torch.cat([take(name) for name in names])

    qkv = [f"self_attn.{name}_proj" for name in "qkv"]
    has_bias = f"{prefix}{qkv[0]}.bias" in weights
    return Layer(
        attention_norm=take("input_layernorm.weight"),
        qkv=join([f"{name}.weight" for name in qkv]),
        qkv_bias=join([f"{name}.bias" for name in qkv]) if has_bias else None,
        out=take("self_attn.o_proj.weight"),
        mlp_norm=take("post_attention_layernorm.weight"),
        gate_up=join(["mlp.gate_proj.weight", "mlp.up_proj.weight"]),
        down=take("mlp.down_proj.weight"),
    )
