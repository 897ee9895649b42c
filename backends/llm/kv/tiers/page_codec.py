"""Pages as they are kept below the pool: their own bytes, or a smaller form of their numbers."""

from typing import TYPE_CHECKING, Protocol

import numpy as np

from backends.llm.kv.tiers.quantizers import Quantizer
from backends.llm.model.page_layout import PageLayout

if TYPE_CHECKING:
    from torch import Tensor


def copy_row(row: "Tensor", target: "Tensor") -> None:
    """Copy a page, uint8 [bytes], from a device or from host memory to host memory. The thread that
    calls copies alone: torch splits a large copy over threads of its own, which wait for a core
    behind those of a model that runs."""
    if row.is_cuda:
        target.copy_(row)
    else:
        target.numpy()[:] = row.numpy()


class PageCodec(Protocol):
    """Used by the transfer thread alone."""

    @property
    def name(self) -> str:
        """Part of the keys of pages and of their folder's name; empty for bytes as they are."""

    @property
    def num_bytes(self) -> int | None:
        """Of a page that is kept; None where they differ."""

    def encode(self, row: "Tensor") -> "Tensor | bytes":
        """Of a page of the pool, uint8 [bytes]. Raises ValueError for numbers it cannot keep."""

    def decode(self, kept: "Tensor | bytes | memoryview", row: "Tensor") -> None:
        """Fill a page of the pool. Raises ValueError for what is no such page."""


class Raw:
    """Exact."""

    name = ""

    def __init__(self, page_bytes: int) -> None:
        self.num_bytes = page_bytes

    def encode(self, row: "Tensor") -> "Tensor | bytes":
        return row

    def decode(self, kept: "Tensor | bytes | memoryview", row: "Tensor") -> None:
        if isinstance(kept, bytes | memoryview):
            row.numpy()[:] = np.frombuffer(kept, np.uint8)
        else:
            copy_row(kept, row)


class Quantized:
    """Lossy: the nearest numbers that a quantizer writes."""

    def __init__(self, layout: PageLayout, quantizer: Quantizer) -> None:
        self.name = quantizer.name
        self.num_bytes = quantizer.num_bytes(layout.shape)
        self._layout = layout
        self._quantizer = quantizer

    def encode(self, row: "Tensor") -> "Tensor | bytes":
        values = self._layout.values(row.cpu().numpy())
        if not np.isfinite(values).all():
            raise ValueError("a page holds numbers that are not finite")
        return self._quantizer.encode(values)

    def decode(self, kept: "Tensor | bytes | memoryview", row: "Tensor") -> None:
        assert isinstance(kept, bytes | memoryview), "a page of another codec"
        content = np.frombuffer(kept, np.uint8)
        row.numpy()[:] = self._layout.row(self._quantizer.decode(content, self._layout.shape))
