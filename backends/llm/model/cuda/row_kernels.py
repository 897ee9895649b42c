"""What a row needs between products: rotary embedding with the KV write, norms, SwiGLU.

Arithmetic is in float32 and rounded where torch rounds.
"""

import triton
import triton.language as tl
from torch import Tensor

from backends.llm.model.cuda.tiling import power_of_two


def rotate_and_store(
    heads: Tensor, cos: Tensor, sin: Tensor, slots: Tensor, kv: Tensor, num_heads: int
) -> None:
    """Turns the queries of heads [T, H + 2K, D] in place; writes turned keys, and values, to slots
    [T] (int32) of kv [2, P, S, K, D]. cos, sin [T, D / 2] float32."""
    num_rows, num_all, head_dim = heads.shape
    _rotate_and_store[(num_rows, num_all)](
        heads,
        cos,
        sin,
        slots,
        kv[0],
        kv[1],
        HEADS=num_heads,
        KV_HEADS=(num_all - num_heads) // 2,
        ALL_HEADS=num_all,
        HALF=head_dim // 2,
        HALF_TILE=power_of_two(head_dim // 2),
        num_warps=1,
    )


def add_norm(x: Tensor, change: Tensor | None, weight: Tensor, eps: float, out: Tensor) -> None:
    """x [T, E] += change, in place; out is x over its root mean square, times weight [E]."""
    num_rows, size = x.shape
    _add_norm[(num_rows,)](
        x,
        x if change is None else change,
        weight,
        out,
        eps,
        SIZE=size,
        TILE=power_of_two(size),
        ADDS=change is not None,
        num_warps=min(16, max(1, power_of_two(size) // 512)),
    )


def swiglu(gate_up: Tensor, out: Tensor) -> None:
    """out [T, F] = silu(gate) * up of gate_up [T, 2F]."""
    num_rows, size = out.shape
    _swiglu[(num_rows, triton.cdiv(size, _SWIGLU_TILE))](
        gate_up, out, SIZE=size, TILE=_SWIGLU_TILE, num_warps=4
    )


_SWIGLU_TILE = 1024


@triton.jit
def _rotate_and_store(
    heads,
    cos,
    sin,
    slots,
    keys,
    values,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    ALL_HEADS: tl.constexpr,
    HALF: tl.constexpr,
    HALF_TILE: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    dims = tl.arange(0, HALF_TILE)
    mask = dims < HALF
    at = heads + (row * ALL_HEADS + head) * (2 * HALF) + dims
    low = tl.load(at, mask=mask, other=0.0)
    high = tl.load(at + HALF, mask=mask, other=0.0)
    slot = tl.load(slots + row).to(tl.int64) * KV_HEADS
    if head >= HEADS + KV_HEADS:
        to = values + (slot + head - HEADS - KV_HEADS) * (2 * HALF) + dims
        tl.store(to, low, mask=mask)
        tl.store(to + HALF, high, mask=mask)
    else:
        c = tl.load(cos + row * HALF + dims, mask=mask, other=0.0)
        s = tl.load(sin + row * HALF + dims, mask=mask, other=0.0)
        turned_low = (low.to(tl.float32) * c - high.to(tl.float32) * s).to(low.dtype)
        turned_high = (high.to(tl.float32) * c + low.to(tl.float32) * s).to(low.dtype)
        if head < HEADS:
            tl.store(at, turned_low, mask=mask)
            tl.store(at + HALF, turned_high, mask=mask)
        else:
            to = keys + (slot + head - HEADS) * (2 * HALF) + dims
            tl.store(to, turned_low, mask=mask)
            tl.store(to + HALF, turned_high, mask=mask)


@triton.jit
def _add_norm(
    x, change, weight, out, eps, SIZE: tl.constexpr, TILE: tl.constexpr, ADDS: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, TILE)
    mask = at < SIZE
    kind = x.dtype.element_ty
    wide = tl.load(x + row * SIZE + at, mask=mask, other=0.0).to(tl.float32)
    if ADDS:
        wide += tl.load(change + row * SIZE + at, mask=mask, other=0.0).to(tl.float32)
        tl.store(x + row * SIZE + at, wide.to(kind), mask=mask)
        wide = wide.to(kind).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(wide * wide, 0) / SIZE + eps)
    normed = (wide * scale).to(kind).to(tl.float32)
    normed *= tl.load(weight + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + row * SIZE + at, normed.to(kind), mask=mask)


@triton.jit
def _swiglu(gate_up, out, SIZE: tl.constexpr, TILE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * TILE + tl.arange(0, TILE)
    mask = at < SIZE
    gate = tl.load(gate_up + row * (2 * SIZE) + at, mask=mask, other=0.0)
    up = tl.load(gate_up + row * (2 * SIZE) + SIZE + at, mask=mask, other=0.0)
    wide = gate.to(tl.float32)
    silu = (wide / (1.0 + tl.exp(-wide))).to(gate.dtype).to(tl.float32)
    tl.store(out + row * SIZE + at, (silu * up.to(tl.float32)).to(gate.dtype), mask=mask)
