"""Where the numbers of a page lie: for what reads or changes KV outside the models."""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


class PageLayout(Protocol):
    """Of one pool's pages, as `export_pages` gives them."""

    @property
    def num_bytes(self) -> int:
        """Of a page."""

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """S tokens, L layers, keys and values, H KV heads, D."""

    def values(self, row: Bytes) -> Floats:
        """A page [bytes] as numbers [S, L, 2, H, D]; keys are rotated."""

    def row(self, values: Floats) -> Bytes:
        """A page [bytes] that holds the nearest numbers of the pool's type."""


@runtime_checkable
class HasPageLayout(Protocol):
    """A pool whose pages can be read as numbers."""

    @property
    def page_layout(self) -> PageLayout: ...
