"""Attention of a step over paged KV: decode rows by length class, prefill chunks one by one."""

import torch
import torch.nn.functional as F
from torch import Tensor

from backends.llm.batch import DecodeRows, Segment, StepBatch
from backends.llm.kv_pool import KVPool


def attend(q: Tensor, layer: int, kv: KVPool, batch: StepBatch) -> Tensor:
    """Outputs [T, H * D] of queries q [T, H, D]; the step's own KV is in the pool already."""
    parts = [_decode(q[r.start : r.end], layer, kv, r) for r in batch.decodes]
    parts += [_prefill(q[s.start : s.end], layer, kv, s) for s in batch.segments]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _decode(q: Tensor, layer: int, kv: KVPool, rows: DecodeRows) -> Tensor:
    """q [B, H, D] -> [B, H * D]."""
    k, v = (x.transpose(1, 2) for x in kv.read(layer, rows.pages))  # [B, K, N, D] each
    num_rows, _, head_dim = q.shape
    grouped = q.reshape(num_rows, k.shape[1], -1, head_dim)  # [B, K, G, D]: a group's heads are
    # queries of one KV head, which saves copying the keys for each
    out = F.scaled_dot_product_attention(grouped, k, v, attn_mask=rows.visible)  # [B, K, G, D]
    return out.flatten(1)


def _prefill(q: Tensor, layer: int, kv: KVPool, segment: Segment) -> Tensor:
    """q [Q, H, D] -> [Q, H * D]."""
    k, v = kv.read(layer, segment.pages)  # [P * S, K, D] each
    heads, keys, values = (x.transpose(0, 1)[None] for x in (q, k, v))  # [1, H or K, ..., D]
    out = F.scaled_dot_product_attention(
        heads,
        keys[:, :, : segment.num_keys],  # [1, K, N, D]
        values[:, :, : segment.num_keys],
        attn_mask=segment.visible,
        is_causal=segment.visible is None,
        enable_gqa=True,
    )  # [1, H, Q, D]
    return out[0].transpose(0, 1).flatten(1)
