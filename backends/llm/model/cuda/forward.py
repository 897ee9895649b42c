"""Llama and Qwen2 forward over a step's arrays: torch for products, Triton for all between.

Nothing here waits for the device or depends on values there, so that it can be captured.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from backends.llm.lora.segments import AdapterRows, add_deltas
from backends.llm.model.cuda.decode_attention import DecodeScratch, decode_attention
from backends.llm.model.cuda.extend_attention import extend_attention
from backends.llm.model.cuda.kv_pool import CudaKVPool
from backends.llm.model.cuda.row_kernels import add_norm, rotate_and_store, swiglu
from backends.llm.model.cuda.step_plan import DeviceStep
from backends.llm.model.torch_model.attention import Watched
from backends.llm.model.torch_model.llama import Layer, LlamaModel


class Forward:
    """Of one model over one pool. `table` [rows, pages] int32 lists each sequence's pages."""

    def __init__(
        self, net: LlamaModel, kv: CudaKVPool, table: Tensor, scratch: DecodeScratch
    ) -> None:
        self._net = net
        self._kv = kv
        self._table = table
        self._scratch = scratch

    def logits(
        self,
        step: DeviceStep,
        lora: tuple[AdapterRows, ...] = (),
        watched: tuple[Watched, ...] = (),
        stop_layer: int | None = None,
    ) -> Tensor:
        """Writes the step's KV; logits [W, V] (float32) of the wanted rows."""
        net = self._net
        x = F.embedding(step.tokens, net.embedding)  # [T, E]
        angles = net.rope.half_angles(step.positions)  # [T, D / 2] both
        change: Tensor | None = None  # [T, E]: what the last block adds to x
        for i, layer in enumerate(net.layers[:stop_layer]):
            normed = self._add_norm(x, change, layer.attention_norm)
            q = self._queries(normed, i, layer, angles, step, lora, watched)
            change = self._attention(q, i, layer, step, lora)
            normed = self._add_norm(x, change, layer.mlp_norm)
            change = _mlp(normed, i, layer, lora)
        if stop_layer is not None:
            layer = net.layers[stop_layer]
            normed = self._add_norm(x, change, layer.attention_norm)
            self._queries(normed, stop_layer, layer, angles, step, lora, watched)
            return x.new_empty(0, len(net.head)).float()
        rows = self._add_norm(x, change, net.norm).index_select(0, step.wanted)  # [W, E]
        return F.linear(rows, net.head).float()

    def _queries(
        self,
        normed: Tensor,
        i: int,
        layer: Layer,
        angles: tuple[Tensor, Tensor],
        step: DeviceStep,
        lora: tuple[AdapterRows, ...],
        watched: tuple[Watched, ...],
    ) -> Tensor:
        """[T, H, D]; writes keys and values."""
        config = self._net.config
        qkv = F.linear(normed, layer.qkv, layer.qkv_bias)  # [T, (H + 2K) * D]
        add_deltas(qkv, normed, lora, i, "qkv")
        heads = qkv.view(len(qkv), -1, config.head_dim)  # [T, H + 2K, D]
        rotate_and_store(heads, *angles, step.slots, self._kv.layer(i), config.num_heads)
        q = heads[:, : config.num_heads]
        for one in watched:
            one.look(q, i, self._kv)
        return q

    def _attention(
        self, q: Tensor, i: int, layer: Layer, step: DeviceStep, lora: tuple[AdapterRows, ...]
    ) -> Tensor:
        kv, table = self._kv.layer(i), self._table
        out = q.new_empty(len(q), q.shape[1] * q.shape[2])  # [T, H * D]
        if len(step.rows):
            decode_attention(
                q, kv, table, step.rows, step.table_rows, step.num_keys, self._scratch, out
            )
        if len(step.tiles):
            extend_attention(q, kv, table, step.positions, step.tiles, out)
        return add_deltas(F.linear(out, layer.out), out, lora, i, "out")  # [T, E]

    def _add_norm(self, x: Tensor, change: Tensor | None, weight: Tensor) -> Tensor:
        """x [T, E] += change, and its norm."""
        out = torch.empty_like(x)
        add_norm(x, change, weight, self._net.config.rms_eps, out)
        return out


def _mlp(normed: Tensor, i: int, layer: Layer, lora: tuple[AdapterRows, ...]) -> Tensor:
    gate_up = add_deltas(F.linear(normed, layer.gate_up), normed, lora, i, "gate_up")  # [T, 2F]
    wide = gate_up.new_empty(len(gate_up), gate_up.shape[1] // 2)  # [T, F]
    swiglu(gate_up, wide)
    return add_deltas(F.linear(wide, layer.down), wide, lora, i, "down")  # [T, E]
