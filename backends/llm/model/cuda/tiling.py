"""Tile sizes of the attention kernels, by head size and dtype.

Tiles are powers of two, at least 16 as `tl.dot` wants. A stage of keys and values stays below 32 KB
in shared memory, so that two fit on every GPU since Ampere.
"""

from typing import NamedTuple

import torch

_STAGE_BYTES = 32 << 10


class Tiling(NamedTuple):
    """What the compiler is told."""

    keys: int  # keys of a loop's turn
    dims: int  # the head size, rounded up
    num_stages: int


def tiling(head_dim: int, dtype: torch.dtype) -> Tiling:
    """For keys and values of `dtype`."""
    dims = power_of_two(head_dim)
    keys = _STAGE_BYTES // (2 * dims * dtype.itemsize)
    keys = min(64, max(16, keys))
    return Tiling(keys, dims, num_stages=1 if dtype == torch.float32 else 2)


def power_of_two(size: int) -> int:
    """The least power of two that is at least `size` and 16."""
    return max(16, 1 << (size - 1).bit_length())
