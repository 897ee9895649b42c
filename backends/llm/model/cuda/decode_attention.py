"""Paged attention of single rows: split over the keys, then reduced (flash decoding).

How a row's keys are split depends on their number alone, so a row's output does not depend on the
batch around it. Keys after the row's last are never read: what an earlier owner left in a page,
NaN even, reaches nobody.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from backends.llm.model.cuda.tiling import power_of_two, tiling

NUM_SPLITS = 16  # most programs a row and KV head
_SPLIT_KEYS = 256  # fewest keys that are worth a program


class DecodeScratch:
    """Partial results of the splits, for up to `num_rows` rows."""

    def __init__(self, num_rows: int, num_heads: int, head_dim: int, device: torch.device) -> None:
        shape = (num_rows, num_heads, NUM_SPLITS)
        self.sums = torch.empty(*shape, head_dim, device=device)  # [B, H, splits, D] float32
        self.tops = torch.empty(shape, device=device)  # largest score of a split
        self.totals = torch.empty(shape, device=device)  # sum of its weights


def decode_attention(
    q: Tensor,
    kv: Tensor,
    table: Tensor,
    rows: Tensor,
    table_rows: Tensor,
    num_keys: Tensor,
    scratch: DecodeScratch,
    out: Tensor,
) -> None:
    """Writes rows `rows` [B] of out [T, H * D] from those of q [T, H, D] (contiguous but for its
    rows) over kv [2, P, S, K, D]: row b sees the first `num_keys[b]` tokens of the pages in row
    `table_rows[b]` of the table. Indices are int32."""
    _, _, page_size, num_kv_heads, head_dim = kv.shape
    num_heads, tiles = q.shape[1], tiling(head_dim, kv.dtype)
    group = num_heads // num_kv_heads
    split_keys = -(-_SPLIT_KEYS // tiles.keys) * tiles.keys
    _attend[(len(rows), num_kv_heads, NUM_SPLITS)](
        q,
        kv[0],
        kv[1],
        table,
        rows,
        table_rows,
        num_keys,
        scratch.sums,
        scratch.tops,
        scratch.totals,
        head_dim**-0.5,
        q.stride(0),
        table.stride(0),
        GROUP=group,
        GROUP_TILE=power_of_two(group),
        HEADS=num_heads,
        KV_HEADS=num_kv_heads,
        DIM=head_dim,
        DIM_TILE=tiles.dims,
        PAGE=page_size,
        KEYS=tiles.keys,
        SPLITS=NUM_SPLITS,
        SPLIT_KEYS=split_keys,
        num_warps=4,
        num_stages=tiles.num_stages,
    )
    _reduce[(len(rows), num_heads)](
        scratch.sums,
        scratch.tops,
        scratch.totals,
        rows,
        num_keys,
        out,
        out.stride(0),
        HEADS=num_heads,
        DIM=head_dim,
        DIM_TILE=tiles.dims,
        KEYS=tiles.keys,
        SPLITS=NUM_SPLITS,
        SPLIT_KEYS=split_keys,
        num_warps=4,
    )


@triton.jit
def _keys_a_split(length, KEYS: tl.constexpr, SPLITS: tl.constexpr, SPLIT_KEYS: tl.constexpr):
    even = (length + SPLITS - 1) // SPLITS
    return tl.maximum((even + KEYS - 1) // KEYS * KEYS, SPLIT_KEYS)


@triton.jit
def _attend(
    q,
    keys,
    values,
    table,
    rows,
    table_rows,
    num_keys,
    sums,
    tops,
    totals,
    scale,
    q_stride,
    table_stride,
    GROUP: tl.constexpr,
    GROUP_TILE: tl.constexpr,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    DIM_TILE: tl.constexpr,
    PAGE: tl.constexpr,
    KEYS: tl.constexpr,
    SPLITS: tl.constexpr,
    SPLIT_KEYS: tl.constexpr,
):
    item = tl.program_id(0)
    kv_head = tl.program_id(1)
    split = tl.program_id(2)
    length = tl.load(num_keys + item)
    size = _keys_a_split(length, KEYS, SPLITS, SPLIT_KEYS)
    start = split * size
    if start >= length:
        return
    end = tl.minimum(start + size, length)
    members = tl.arange(0, GROUP_TILE)
    dims = tl.arange(0, DIM_TILE)
    heads = kv_head * GROUP + members
    mask = (members[:, None] < GROUP) & (dims[None, :] < DIM)
    row = tl.load(rows + item).to(tl.int64)
    query = tl.load(
        q + row * q_stride + heads[:, None] * DIM + dims[None, :], mask=mask, other=0.0
    )  # [G, D]
    pages = table + tl.load(table_rows + item).to(tl.int64) * table_stride
    top = tl.full([GROUP_TILE], float("-inf"), tl.float32)
    total = tl.zeros([GROUP_TILE], tl.float32)
    sum_ = tl.zeros([GROUP_TILE, DIM_TILE], tl.float32)
    for first in range(start, end, KEYS):
        at = first + tl.arange(0, KEYS)
        inside = at < end
        page = tl.load(pages + at // PAGE, mask=inside, other=0).to(tl.int64)
        slots = page * PAGE + at % PAGE
        where = (slots[:, None] * KV_HEADS + kv_head) * DIM + dims[None, :]
        held = inside[:, None] & (dims[None, :] < DIM)
        key = tl.load(keys + where, mask=held, other=0.0)  # [N, D]
        value = tl.load(values + where, mask=held, other=0.0)
        scores = tl.dot(query, tl.trans(key), input_precision="ieee") * scale  # [G, N]
        scores = tl.where(inside[None, :], scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        weights = tl.exp(scores - higher[:, None])
        fade = tl.exp(top - higher)
        total = total * fade + tl.sum(weights, 1)
        sum_ = sum_ * fade[:, None] + tl.dot(weights.to(value.dtype), value, input_precision="ieee")
        top = higher
    part = (item * HEADS + heads) * SPLITS + split
    tl.store(sums + part[:, None] * DIM + dims[None, :], sum_, mask=mask)
    tl.store(tops + part, top, mask=members < GROUP)
    tl.store(totals + part, total, mask=members < GROUP)


@triton.jit
def _reduce(
    sums,
    tops,
    totals,
    rows,
    num_keys,
    out,
    out_stride,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    DIM_TILE: tl.constexpr,
    KEYS: tl.constexpr,
    SPLITS: tl.constexpr,
    SPLIT_KEYS: tl.constexpr,
):
    item = tl.program_id(0)
    head = tl.program_id(1)
    length = tl.load(num_keys + item)
    size = _keys_a_split(length, KEYS, SPLITS, SPLIT_KEYS)
    splits = tl.arange(0, SPLITS)
    dims = tl.arange(0, DIM_TILE)
    used = splits * size < length
    part = (item * HEADS + head) * SPLITS + splits
    top = tl.load(tops + part, mask=used, other=float("-inf"))
    share = tl.exp(top - tl.max(top, 0))
    total = tl.sum(share * tl.load(totals + part, mask=used, other=0.0), 0)
    held = used[:, None] & (dims[None, :] < DIM)
    sum_ = tl.load(sums + part[:, None] * DIM + dims[None, :], mask=held, other=0.0)
    attended = tl.sum(sum_ * share[:, None], 0) / total
    row = tl.load(rows + item).to(tl.int64)
    where = out + row * out_stride + head * DIM + dims
    tl.store(where, attended.to(out.dtype.element_ty), mask=dims < DIM)
