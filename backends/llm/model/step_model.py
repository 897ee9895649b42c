"""What the core needs of a model and its KV memory: in torch (`model`) or C++ (`native.model`)."""

from typing import Protocol, TypeVar

import torch
from torch import Tensor

from backends.llm.lora.weights import LoadedAdapter
from backends.llm.model.batch import StepBatch
from backends.llm.model.config import ModelConfig

Pool = TypeVar("Pool", bound="PagedKV")


class PagedKV(Protocol):
    """Keys and values of all tokens, in pages that only their model can read."""

    @property
    def page_size(self) -> int: ...

    def copy_page(self, source: int, target: int) -> None:
        """All layers of one page."""

    def export_pages(self, pages: list[int]) -> Tensor:
        """A copy, uint8 [P, bytes of a page]."""

    def import_pages(self, pages: list[int], values: Tensor) -> None:
        """What `export_pages` gave, into these pages."""


class StepModel(Protocol[Pool]):
    """Runs one ragged batch at a time."""

    @property
    def config(self) -> ModelConfig: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def make_pool(self, num_pages: int, page_size: int) -> Pool:
        """The KV memory this model reads and writes."""

    def adapter_bytes(self, adapter: LoadedAdapter) -> int:
        """What an adapter takes in memory, with all that this model makes of it."""

    def forward(self, batch: StepBatch, kv: Pool) -> Tensor | None:
        """Writes the step's KV; logits [R, V] (float32, good until the next step) of the wanted
        rows, None without any."""
