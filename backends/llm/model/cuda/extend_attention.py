"""Paged attention of runs of several rows behind a cached prefix, ragged and causal.

A tile is up to `TILE_ROWS` rows of one run, at ascending positions that need not be neighbours. It
reads the pages from the first token to its own last row: the step's KV is in the pool already.
Keys after that are never read.
"""

import triton
import triton.language as tl
from torch import Tensor

from backends.llm.model.cuda.tiling import TILE_ROWS, tiling


def extend_attention(
    q: Tensor, kv: Tensor, table: Tensor, positions: Tensor, tiles: Tensor, out: Tensor
) -> None:
    """Writes the tiles' rows of out [T, H * D] from those of q [T, H, D] (contiguous but for its
    rows), which stand at positions [T], over kv [2, P, S, K, D]. A tile is an int32 row of tiles
    [n, 3]: its first row in the batch, its number of rows, and the row of the page table."""
    _, _, page_size, num_kv_heads, head_dim = kv.shape
    num_heads, sizes = q.shape[1], tiling(head_dim, kv.dtype)
    parts = TILE_ROWS // sizes.rows
    _attend[(len(tiles) * parts, num_heads)](
        q,
        kv[0],
        kv[1],
        table,
        positions,
        tiles,
        out,
        head_dim**-0.5,
        q.stride(0),
        table.stride(0),
        out.stride(0),
        GROUP=num_heads // num_kv_heads,
        KV_HEADS=num_kv_heads,
        DIM=head_dim,
        DIM_TILE=sizes.dims,
        PAGE=page_size,
        KEYS=sizes.keys,
        ROWS=sizes.rows,
        PARTS=parts,
        num_warps=4,
        num_stages=sizes.num_stages,
    )


@triton.jit
def _attend(
    q,
    keys,
    values,
    table,
    positions,
    tiles,
    out,
    scale,
    q_stride,
    table_stride,
    out_stride,
    GROUP: tl.constexpr,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    DIM_TILE: tl.constexpr,
    PAGE: tl.constexpr,
    KEYS: tl.constexpr,
    ROWS: tl.constexpr,
    PARTS: tl.constexpr,
):
    tile = tiles + tl.program_id(0) // PARTS * 3
    skipped = tl.program_id(0) % PARTS * ROWS
    head = tl.program_id(1)
    kv_head = head // GROUP
    num_rows = tl.minimum(tl.load(tile + 1) - skipped, ROWS)
    if num_rows <= 0:
        return
    first_row = tl.load(tile).to(tl.int64) + skipped
    pages = table + tl.load(tile + 2).to(tl.int64) * table_stride
    members = tl.arange(0, ROWS)
    places = tl.load(positions + first_row + members, mask=members < num_rows, other=0)
    end = tl.max(places, 0) + 1
    dims = tl.arange(0, DIM_TILE)
    mask = (members[:, None] < num_rows) & (dims[None, :] < DIM)
    at_rows = first_row + members[:, None]
    query = tl.load(q + at_rows * q_stride + head * DIM + dims[None, :], mask=mask, other=0.0)
    top = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    sum_ = tl.zeros([ROWS, DIM_TILE], tl.float32)
    for first in range(0, end, KEYS):
        at = first + tl.arange(0, KEYS)
        inside = at < end
        page = tl.load(pages + at // PAGE, mask=inside, other=0).to(tl.int64)
        slots = page * PAGE + at % PAGE
        where = (slots[:, None] * KV_HEADS + kv_head) * DIM + dims[None, :]
        held = inside[:, None] & (dims[None, :] < DIM)
        key = tl.load(keys + where, mask=held, other=0.0)  # [N, D]
        value = tl.load(values + where, mask=held, other=0.0)
        scores = tl.dot(query, tl.trans(key), input_precision="ieee") * scale  # [rows, N]
        visible = inside[None, :] & (at[None, :] <= places[:, None])
        scores = tl.where(visible, scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        weights = tl.exp(scores - higher[:, None])
        fade = tl.exp(top - higher)
        total = total * fade + tl.sum(weights, 1)
        sum_ = sum_ * fade[:, None] + tl.dot(weights.to(value.dtype), value, input_precision="ieee")
        top = higher
    attended = sum_ / total[:, None]
    where = out + at_rows * out_stride + head * DIM + dims[None, :]
    tl.store(where, attended.to(out.dtype.element_ty), mask=mask)
