"""A step as int32 arrays, end to end in one vector that is copied to the device at once.

    tokens, positions, slots [T] | rows, table rows, keys [B] | tiles [n, 3] | wanted [W] |
    places of `wanted` with logits [R] | places in the page table, their pages [C]

Each part begins at a multiple of 16 bytes: Triton compiles a kernel once more for pointers that are
aligned otherwise, which would stall a step for seconds.
"""

from collections.abc import Iterable
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from backends.llm.model.batch import Ints, Span, StepBatch
from backends.llm.model.cuda.kv_pool import DevicePageTable, Int32s
from backends.llm.model.cuda.tiling import TILE_ROWS

_ALIGNED = 4  # int32s
Tile = tuple[int, int, int]  # first row, number of rows, table row


class Sizes(NamedTuple):
    """How long the parts are."""

    tokens: int  # T
    singles: int  # B
    tiles: int
    wanted: int  # W
    with_logits: int = 0  # R
    changes: int = 0  # C

    @property
    def slices(self) -> list[slice]:
        """Where the parts of a `DeviceStep` lie."""
        lengths = (
            *(self.tokens,) * 3,
            *(self.singles,) * 3,
            3 * self.tiles,
            self.wanted,
            self.with_logits,
            *(self.changes,) * 2,
        )
        starts = accumulate((-(-length // _ALIGNED) * _ALIGNED for length in lengths), initial=0)
        return [slice(start, start + n) for start, n in zip(starts, lengths, strict=False)]

    @property
    def total(self) -> int:
        return int(self.slices[-1].stop)


class StepPlan(NamedTuple):
    """On the host: the parts of a `DeviceStep`, in its order."""

    sizes: Sizes
    parts: tuple[Int32s, ...]

    def write(self, host: Int32s) -> None:
        """Into a vector of at least `sizes.total`."""
        for where, part in zip(self.sizes.slices, self.parts, strict=True):
            host[where] = part


class DeviceStep(NamedTuple):
    """Views of the vector on the device."""

    tokens: Tensor  # [T]
    positions: Tensor  # [T]
    slots: Tensor  # [T]: where each token's KV goes
    rows: Tensor  # [B]: rows that attend alone
    table_rows: Tensor  # [B]
    num_keys: Tensor  # [B]
    tiles: Tensor  # [n, 3]: rows that attend together
    wanted: Tensor  # [W]
    with_logits: Tensor  # [R]
    places: Tensor  # [C]: changes of the page table
    pages: Tensor  # [C]


def plan_step(batch: StepBatch, table: DevicePageTable) -> StepPlan:
    """Everything that the model reads of a batch."""
    singles: list[tuple[int, int, int]] = []
    tiles: list[Tile] = []
    for span in batch.spans:
        row = table.row_of(batch, span.first_page)
        if span.num_rows == 1:
            singles.append((span.start, row, span.num_keys))
        else:
            tiles += tiles_of(span.start, span.num_rows, row)
    rows = np.array(singles, np.int32).reshape(-1, 3).T  # [3, B]
    changes = table.changes(batch)
    sizes = Sizes(
        tokens=len(batch.tokens),
        singles=len(singles),
        tiles=len(tiles),
        wanted=len(batch.wanted),
        with_logits=len(batch.with_logits),
        changes=changes.shape[1],
    )
    parts = (
        batch.tokens,
        batch.positions,
        slots_of(batch),
        *rows,
        np.array(tiles, np.int32).reshape(-1),
        batch.wanted,
        batch.with_logits,
        *changes,
    )
    return StepPlan(sizes, _int32(parts))


def plan_decodes(batch: StepBatch, table: DevicePageTable, size: int) -> StepPlan:
    """A batch of single rows, filled up to `size`. All rows are wanted."""
    table_rows = [table.row_of(batch, span.first_page) for span in batch.spans]
    changes = table.changes(batch)
    with_logits = batch.wanted[batch.with_logits]
    return StepPlan(
        Sizes(size, size, 0, size, len(with_logits), changes.shape[1]),
        (
            *_filled_up(
                size,
                table,
                batch.tokens,
                batch.positions,
                slots_of(batch),
                np.array(table_rows, np.int32),
                batch.span_table[:, Span._fields.index("num_keys")],
            ),
            with_logits.astype(np.int32),
            *changes,
        ),
    )


def plan_padding(table: DevicePageTable, size: int) -> StepPlan:
    """Decodes of nobody, for a graph's capture."""
    nobody = np.empty(0, np.int32)
    parts = _filled_up(size, table, nobody, nobody, nobody, nobody, nobody)
    return StepPlan(Sizes(size, size, 0, size), (*parts, nobody, nobody, nobody))


def plan_prompt_of_nobody(table: DevicePageTable, num_tokens: int, num_wanted: int) -> StepPlan:
    """Tiles of nobody that fill a step; their KV goes to the scratch page."""
    tiles = [
        (first, num_rows, table.scratch_row) for first, num_rows, _ in tiles_of(0, num_tokens, 0)
    ]
    zeros, wanted = np.zeros(num_tokens, np.int32), np.arange(min(num_wanted, num_tokens))
    nobody = np.empty(0, np.int32)
    parts = (
        *(zeros, zeros, zeros + table.scratch_slot),
        *(nobody, nobody, nobody),
        np.array(tiles).reshape(-1),
        wanted,
        *(nobody, nobody, nobody),
    )
    return StepPlan(Sizes(num_tokens, 0, len(tiles), len(wanted)), _int32(parts))


def _filled_up(
    size: int,
    table: DevicePageTable,
    tokens: Ints | Int32s,
    positions: Ints | Int32s,
    slots: Int32s,
    table_rows: Int32s,
    num_keys: Int32s,
) -> tuple[Int32s, ...]:
    """The parts up to `wanted`; the rows behind the last see one token of the scratch page."""

    def filled(values: Ints | Int32s, fill: int) -> Int32s:
        array = np.full(size, fill, np.int32)
        array[: len(values)] = values
        return array

    everyone = np.arange(size, dtype=np.int32)
    return (
        filled(tokens, 0),
        filled(positions, 0),
        filled(slots, table.scratch_slot),
        everyone,
        filled(table_rows, table.scratch_row),
        filled(num_keys, 1),
        np.empty(0, np.int32),  # no tiles
        everyone,
    )


def is_all_decodes(batch: StepBatch) -> bool:
    """Single rows of the base model: what a captured graph computes."""
    return (
        len(batch.tokens) == len(batch.spans)
        and not batch.adapters
        and not batch.watches
        and batch.stop_layer is None
    )


def slots_of(batch: StepBatch) -> Int32s:
    """Where each row's KV goes, [T] int32."""
    spans, page_size = batch.span_table, batch.page_rows.page_size
    counts = spans[:, 1] - spans[:, 0]  # [S]
    first_pages = np.repeat(spans[:, 3], counts)  # [T]
    pages, offsets = np.divmod(batch.positions, page_size)
    slots = batch.page_rows.flat[first_pages + pages] * page_size + offsets
    return slots.astype(np.int32)


def tiles_of(first_row: int, num_rows: int, table_row: int) -> list[Tile]:
    """A run of rows cut into tiles of the extend kernel."""
    return [
        (first_row + at, min(TILE_ROWS, num_rows - at), table_row)
        for at in range(0, num_rows, TILE_ROWS)
    ]


def device_step(ints: Tensor, sizes: Sizes) -> DeviceStep:
    """The parts of a step that lies in the vector `ints`."""
    parts = [ints[where] for where in sizes.slices]
    parts[6] = parts[6].view(-1, 3)
    return DeviceStep(*parts)


def _int32(parts: Iterable[NDArray[Any]]) -> tuple[Int32s, ...]:
    return tuple(part.astype(np.int32, copy=False) for part in parts)
