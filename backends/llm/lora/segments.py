"""The rows of a step by adapter, and what each adapter adds to them.

One small product for each adapter of the batch, over all of its rows together, prefill chunks and
decodes alike (SGMV of Punica, arXiv 2310.18547). Rows without an adapter are never touched; what is
added to a row depends on that row and its own adapter alone.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from backends.llm.lora.adapter import LoadedAdapter
from backends.llm.model.batch import StepBatch

Projection = Literal["qkv", "out", "gate_up", "down"]
Rows = slice | Tensor  # [rows] int64 where they do not lie together


@dataclass(frozen=True, slots=True)
class AdapterRows:
    """All rows of one adapter in a step."""

    adapter: LoadedAdapter
    rows: Rows


def plan_adapters(batch: StepBatch, device: torch.device) -> tuple[AdapterRows, ...]:
    """One segment per adapter of the step, in the order of their first rows."""
    if not batch.adapters:
        return ()
    of_adapter: list[list[tuple[int, int]]] = [[] for _ in batch.adapters]
    for span in batch.spans:
        if span.adapter >= 0:
            of_adapter[span.adapter].append((span.start, span.end))
    return tuple(
        AdapterRows(adapter, _rows(ranges, device))
        for adapter, ranges in zip(batch.adapters, of_adapter, strict=True)
    )


def add_deltas(
    y: Tensor, x: Tensor, segments: tuple[AdapterRows, ...], layer: int, projection: Projection
) -> Tensor:
    """Adds to y [T, out], in place, what the adapters make of x [T, in]; returns y."""
    for segment in segments:
        delta = getattr(segment.adapter.layers[layer], projection)
        if delta is not None:
            y[segment.rows] += delta.of(x[segment.rows]).to(y.dtype)
    return y


def _rows(ranges: list[tuple[int, int]], device: torch.device) -> Rows:
    first, last = ranges[0][0], ranges[-1][1]
    if last - first == sum(end - start for start, end in ranges):
        return slice(first, last)
    rows = [row for start, end in ranges for row in range(start, end)]
    return torch.tensor(rows, device=device)
