"""Tile sizes of the attention kernels, by head size and dtype.

Tiles are powers of two, at least 16 as `tl.dot` wants. A stage of keys and values stays below 32 KB
in shared memory, so that two fit on every GPU since Ampere.
"""

from typing import NamedTuple

import torch

TILE_ROWS = 64  # most rows of a tile in a step's plan
_STAGE_BYTES = 32 << 10


class Tiling(NamedTuple):
    """What the compiler is told."""

    rows: int  # of a program of the extend kernel; divides TILE_ROWS
    keys: int  # keys of a loop's turn
    dims: int  # the head size, rounded up
    num_stages: int


def tiling(head_dim: int, dtype: torch.dtype) -> Tiling:
    """For keys and values of `dtype`."""
    dims = power_of_two(head_dim)
    keys = _STAGE_BYTES // (2 * dims * dtype.itemsize)
    keys = min(64, max(16, keys))
    if dtype == torch.float32:  # products without tensor cores: small, or they compile for minutes
        return Tiling(TILE_ROWS // 2, keys, dims, num_stages=1)
    return Tiling(TILE_ROWS if dims <= 128 else TILE_ROWS // 2, keys, dims, num_stages=2)


def power_of_two(size: int) -> int:
    """The least power of two that is at least `size` and 16."""
    return max(16, 1 << (size - 1).bit_length())
