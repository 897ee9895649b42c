"""Pages on the device: their KV memory, and a copy of the page lists, written where they change."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backends.llm.model.batch import StepBatch
from backends.llm.model.torch_model.kv_pool import KVPool

Int32s = NDArray[np.int32]
MOST_CHANGES = 4096  # that travel with a step's other arrays


class CudaKVPool(KVPool):
    """The last page is no sequence's: rows that only fill a captured graph up write to it."""

    @property
    def scratch_page(self) -> int:
        return self._pages.shape[2] - 1

    def layer(self, i: int) -> Tensor:
        """[2, P, S, K, D]."""
        return self._pages[i]


class DevicePageTable:
    """`num_rows`: most sequences in a step; the row behind the last lists the scratch page."""

    def __init__(
        self, num_rows: int, max_pages: int, page_size: int, scratch_page: int, device: torch.device
    ) -> None:
        shape = (num_rows + 1, max_pages)
        self.cells = torch.full(shape, scratch_page, dtype=torch.int32, device=device)
        self.scratch_row = num_rows
        self.scratch_slot = scratch_page * page_size
        self._num_listed = [0] * num_rows  # first entries of a row that are on the device

    def changes(self, batch: StepBatch) -> Int32s:
        """What the batch's rows need and the device lacks: [2, C], flat places and pages, for the
        caller to `write`. More than `MOST_CHANGES` are written here, by a copy of their own."""
        page_rows = batch.page_rows
        for row, first in page_rows.take_changes().items():
            self._num_listed[row] = min(self._num_listed[row], first)
        places: list[Int32s] = []
        pages: list[Int32s] = []
        for span in batch.spans:
            row = self.row_of(batch, span.first_page)
            own, listed = batch.pages_of(span), self._num_listed[row]
            if listed < len(own):
                start = row * self.cells.shape[1]
                places.append(np.arange(start + listed, start + len(own), dtype=np.int32))
                pages.append(own[listed:])
                self._num_listed[row] = len(own)
        if not places:
            return np.empty((2, 0), np.int32)
        changes = np.stack((np.concatenate(places), np.concatenate(pages)))
        if changes.shape[1] <= MOST_CHANGES:
            return changes
        self.write(*torch.from_numpy(changes).to(self.cells.device))
        return changes[:, :0]

    def write(self, places: Tensor, pages: Tensor) -> None:
        """Store pages [C] at flat places [C], both on the device."""
        self.cells.view(-1)[places] = pages

    @staticmethod
    def row_of(batch: StepBatch, first_page: int) -> int:
        """The table row of a span that begins at `first_page`."""
        return int(first_page // batch.page_rows.array.shape[1])
