"""One step laid out for the model: decode rows first, then prefill chunks, end to end."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from backends.llm.sequence import Sequence


class Chunk(NamedTuple):
    """The next `num_tokens` tokens of a sequence that have no KV yet."""

    sequence: Sequence
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A prefill chunk inside the batch."""

    start: int  # first row
    end: int
    num_keys: int  # N: tokens up to the chunk's last
    pages: Tensor  # [P]
    visible: Tensor | None  # [Q, N] bool: key is not after query; None: the plain triangle


@dataclass(frozen=True, slots=True)
class DecodeRows:
    """Decode rows of similar length, attended in one padded call."""

    start: int  # first row
    end: int
    pages: Tensor  # [B, P], padded with page 0
    visible: Tensor  # [B, 1, 1, N] bool


@dataclass(frozen=True, slots=True)
class StepBatch:
    """What the model runs in one step."""

    tokens: Tensor  # [T]
    positions: Tensor  # [T]
    slots: Tensor  # [T]: where each token's KV goes
    num_decodes: int  # B: the first rows, one for each decoding sequence
    decodes: tuple[DecodeRows, ...]
    segments: tuple[Segment, ...]


def build_batch(
    decodes: list[Sequence], chunks: list[Chunk], page_size: int, device: torch.device
) -> StepBatch:
    """Sequences must have pages for all tokens they compute in this step. Decodes come shortest
    first, so that rows of a length class stand together."""
    tokens = [sequence.ids[-1] for sequence in decodes]
    positions = [len(sequence.ids) - 1 for sequence in decodes]
    slots = [_slot(s, at, page_size) for s, at in zip(decodes, positions, strict=True)]
    segments = []
    for sequence, num_tokens in chunks:
        start = sequence.table.num_computed
        end = start + num_tokens
        segments.append(_segment(sequence, len(tokens), start, end, page_size, device))
        tokens += sequence.ids[start:end]
        positions += range(start, end)
        slots += [_slot(sequence, at, page_size) for at in range(start, end)]
    return StepBatch(
        tokens=torch.tensor(tokens, device=device),
        positions=torch.tensor(positions, device=device),
        slots=torch.tensor(slots, device=device),
        num_decodes=len(decodes),
        decodes=tuple(_decode_groups(decodes, page_size, device)),
        segments=tuple(segments),
    )


def _slot(sequence: Sequence, position: int, page_size: int) -> int:
    page, offset = divmod(position, page_size)
    return sequence.table.pages[page] * page_size + offset


def _segment(
    sequence: Sequence, row: int, start: int, end: int, page_size: int, device: torch.device
) -> Segment:
    pages = sequence.table.pages[: -(-end // page_size)]
    visible = None
    if start:
        keys = torch.arange(end, device=device)  # [N]
        visible = keys <= torch.arange(start, end, device=device)[:, None]  # [Q, N]
    return Segment(
        start=row,
        end=row + end - start,
        num_keys=end,
        pages=torch.tensor(pages, device=device),
        visible=visible,
    )


def _decode_groups(
    decodes: list[Sequence], page_size: int, device: torch.device
) -> Iterator[DecodeRows]:
    """One group for each power of two of the length: at most half of it is padding."""
    start = 0
    for _, group in groupby(decodes, key=lambda sequence: len(sequence.ids).bit_length()):
        rows = _decode_rows(start, list(group), page_size, device)
        yield rows
        start = rows.end


def _decode_rows(
    start: int, decodes: list[Sequence], page_size: int, device: torch.device
) -> DecodeRows:
    num_keys = [len(sequence.ids) for sequence in decodes]
    width = -(-max(num_keys) // page_size)
    tables = [sequence.table.pages[:width] for sequence in decodes]
    padded = [pages + [0] * (width - len(pages)) for pages in tables]
    keys = torch.arange(width * page_size, device=device)  # [N]
    visible = keys < torch.tensor(num_keys, device=device)[:, None]  # [B, N]
    return DecodeRows(
        start=start,
        end=start + len(decodes),
        pages=torch.tensor(padded, device=device),
        visible=visible[:, None, None, :],
    )
