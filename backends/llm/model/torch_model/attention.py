"""Attention of a step over paged KV, in torch: single rows by length class, longer runs one by one.

A row's output depends on its own sequence alone, but rounding depends on the shapes of the call.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from backends.llm.model.batch import Span, StepBatch, Watch
from backends.llm.model.torch_model.kv_pool import KVPool


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of several rows."""

    span: Span
    pages: Tensor  # [P]
    visible: Tensor | None  # [Q, N] bool: key is not after query; None: the plain triangle


@dataclass(frozen=True, slots=True)
class SingleRows:
    """Runs of one row and similar length, attended in one padded call."""

    rows: Tensor  # [B]
    pages: Tensor  # [B, P], padded with page 0
    visible: Tensor  # [B, 1, 1, N] bool


@dataclass(frozen=True, slots=True)
class Watched:
    """Rows whose attention is wanted."""

    watch: Watch
    pages: Tensor  # [P]
    visible: Tensor  # [Q, N] bool
    mass: Tensor  # [N]: what was found so far

    def look(self, q: Tensor, layer: int, kv: KVPool) -> None:
        """Add a layer's weights; queries q [T, H, D]."""
        watch = self.watch
        if not watch.first_layer <= layer < watch.end_layer:
            return
        k, _ = kv.read(layer, self.pages)  # [P * S, K, D]
        own = q[watch.start : watch.end].float()  # [Q, H, D]
        keys = k[: len(self.mass)].float().repeat_interleave(own.shape[1] // k.shape[1], 1)
        scores = torch.einsum("qhd,nhd->hqn", own, keys) * q.shape[-1] ** -0.5
        weights = scores.masked_fill_(~self.visible, -torch.inf).softmax(-1)  # [H, Q, N]
        self.mass.add_(weights.sum((0, 1)))


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """The same for every layer of a step."""

    slots: Tensor  # [T]: where each token's KV goes
    singles: tuple[SingleRows, ...]
    segments: tuple[Segment, ...]
    watched: tuple[Watched, ...]


def plan_attention(batch: StepBatch, page_size: int, device: torch.device) -> AttentionPlan:
    """Everything that all layers share."""
    slots: list[int] = []
    for span in batch.spans:
        pages = batch.pages_of(span).tolist()
        for at in batch.positions[span.start : span.end].tolist():
            page, offset = divmod(at, page_size)
            slots.append(pages[page] * page_size + offset)
    return AttentionPlan(
        slots=torch.tensor(slots, device=device),
        singles=tuple(_single_groups(batch, page_size, device)),
        segments=tuple(_segment(batch, s, device) for s in batch.spans if s.num_rows > 1),
        watched=plan_watched(batch, device),
    )


def plan_watched(batch: StepBatch, device: torch.device) -> tuple[Watched, ...]:
    """What a step is asked to find out."""
    return tuple(_watched(batch, watch, device) for watch in batch.watches)


def attend(q: Tensor, layer: int, kv: KVPool, plan: AttentionPlan) -> Tensor:
    """Outputs [T, H * D] of queries q [T, H, D]; the step's own KV is in the pool already."""
    if len(plan.segments) == 1 and not plan.singles:
        return _several(q, layer, kv, plan.segments[0])
    out = torch.empty_like(q).flatten(1)  # [T, H * D]
    for group in plan.singles:
        out[group.rows] = _single(q[group.rows], layer, kv, group)
    for segment in plan.segments:
        rows = slice(segment.span.start, segment.span.end)
        out[rows] = _several(q[rows], layer, kv, segment)
    return out


def _single(q: Tensor, layer: int, kv: KVPool, group: SingleRows) -> Tensor:
    """q [B, H, D] -> [B, H * D]."""
    copies = kv.read(layer, group.pages)  # [B, N, K, D] each
    k, v = (_cleared(x, group.visible).transpose(1, 2) for x in copies)  # [B, K, N, D] each
    num_rows, _, head_dim = q.shape
    grouped = q.reshape(num_rows, k.shape[1], -1, head_dim)  # [B, K, G, D]: a group's heads are
    # queries of one KV head, which saves copying the keys for each
    out = F.scaled_dot_product_attention(grouped, k, v, attn_mask=group.visible)  # [B, K, G, D]
    return out.flatten(1)


def _cleared(copied: Tensor, visible: Tensor) -> Tensor:
    """`copied` [B, N, K, D] with zeros for keys that are not `visible` [B, 1, 1, N]: what another
    request left in a page may be NaN, which a weight of zero does not remove."""
    return copied.masked_fill_(~visible[:, 0, 0, :, None, None], 0)


def _several(q: Tensor, layer: int, kv: KVPool, segment: Segment) -> Tensor:
    """q [Q, H, D] -> [Q, H * D]."""
    k, v = kv.read(layer, segment.pages)  # [P * S, K, D] each
    heads, keys, values = (x.transpose(0, 1)[None] for x in (q, k, v))  # [1, H or K, ..., D]
    num_keys = segment.span.num_keys
    out = F.scaled_dot_product_attention(
        heads,
        keys[:, :, :num_keys],  # [1, K, N, D]
        values[:, :, :num_keys],
        attn_mask=segment.visible,
        is_causal=segment.visible is None,
        enable_gqa=True,
    )  # [1, H, Q, D]
    return out[0].transpose(0, 1).flatten(1)


def _segment(batch: StepBatch, span: Span, device: torch.device) -> Segment:
    visible = None
    if span.num_rows < span.num_keys:
        visible = _visible(batch, span.start, span.end, span.num_keys, device)
    return Segment(span, torch.tensor(batch.pages_of(span), device=device), visible)


def _visible(batch: StepBatch, start: int, end: int, num_keys: int, device: torch.device) -> Tensor:
    """[Q, N]: a key is not behind its query."""
    places = torch.tensor(batch.positions[start:end], device=device)  # [Q]
    return torch.arange(num_keys, device=device) <= places[:, None]


def _watched(batch: StepBatch, watch: Watch, device: torch.device) -> Watched:
    span = batch.spans[watch.span]
    return Watched(
        watch,
        torch.tensor(batch.pages_of(span), device=device),
        _visible(batch, watch.start, watch.end, span.num_keys, device),
        torch.zeros(span.num_keys, device=device),
    )


def _single_groups(batch: StepBatch, page_size: int, device: torch.device) -> Iterator[SingleRows]:
    """One group for each power of two of the length: at most half of it is padding."""
    singles = [span for span in batch.spans if span.num_rows == 1]
    ordered = sorted(singles, key=lambda span: span.num_keys)
    for _, group in groupby(ordered, key=lambda span: span.num_keys.bit_length()):
        yield _single_rows(batch, list(group), page_size, device)


def _single_rows(
    batch: StepBatch, spans: list[Span], page_size: int, device: torch.device
) -> SingleRows:
    pages = [batch.pages_of(span) for span in spans]
    width = len(pages[-1])
    padded = np.zeros((len(spans), width), np.int32)  # [B, P]
    for row, own in zip(padded, pages, strict=True):
        row[: len(own)] = own
    num_keys = torch.tensor([span.num_keys for span in spans], device=device)  # [B]
    keys = torch.arange(width * page_size, device=device)  # [N]
    return SingleRows(
        rows=torch.tensor([span.start for span in spans], device=device),
        pages=torch.from_numpy(padded).to(device),
        visible=(keys < num_keys[:, None])[:, None, None, :],
    )
