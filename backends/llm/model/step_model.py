"""What the core needs of a model and its KV memory: in torch, C++ or on CUDA.

launch(batch) -> Launched        the step is under way; its arrays were read
launched.collect() -> StepOutput the tokens on the host; waits for the step
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from backends.llm.lora.adapter import LoadedAdapter
from backends.llm.model.batch import Floats, StepBatch, StepOutput
from backends.llm.model.config import ModelConfig
from backends.llm.model.dtypes import Device, DType

if TYPE_CHECKING:
    from torch import Tensor

Pool = TypeVar("Pool", bound="PagedKV")


class PagedKV(Protocol):
    """Keys and values of all tokens, in pages that only their model can read."""

    @property
    def page_size(self) -> int: ...

    def copy_page(self, source: int, target: int) -> None:
        """All layers of one page."""

    def export_pages(self, pages: list[int]) -> "Tensor":
        """A copy, uint8 [P, bytes of a page]."""

    def import_pages(self, pages: list[int], values: "Tensor") -> None:
        """What `export_pages` gave, into these pages."""


class Launched(Protocol):
    """A step under way."""

    def collect(self) -> StepOutput:
        """Wait for the step. Call it once, before the model's next launch."""


@dataclass(frozen=True, slots=True)
class Done:
    """Of a model that computes in `launch`."""

    output: StepOutput

    def collect(self) -> StepOutput:
        return self.output


class StepModel(Protocol[Pool]):
    """Runs one ragged batch at a time."""

    @property
    def config(self) -> ModelConfig: ...

    @property
    def device(self) -> Device: ...

    @property
    def dtype(self) -> DType: ...

    @property
    def layout(self) -> str:
        """How KV is computed and its bytes lie, then " @ " and the version of what does it: KV is
        read again only where all is the same."""

    def make_pool(self, num_pages: int, page_size: int) -> Pool:
        """The KV memory this model reads and writes."""

    @property
    def frequencies(self) -> Floats:
        """Radians a place that the pairs of a key's dimensions are turned by, [D / 2]."""

    def read(
        self, kv: Pool, layer: int, pages: list[int], first: int, num_tokens: int
    ) -> tuple[Floats, Floats]:
        """Keys and values [T, K, D] of tokens `first` on, which lie in `pages`, as they are."""

    def link(
        self, kv: Pool, pages: list[int], first: int, to_pages: list[int], to: int, num_tokens: int
    ) -> None:
        """Copy the KV of tokens `first` on, which lie in `pages`, to the places from `to` on in
        `to_pages`, keys turned from their old positions to the new ones."""

    def adapter_bytes(self, adapter: LoadedAdapter) -> int:
        """What an adapter takes in memory, with all that this model makes of it."""

    def launch(self, batch: StepBatch, kv: Pool) -> Launched:
        """Start a step: it writes the KV of all rows [T] and finds the next token of the wanted
        rows [W], and the logits [R, V] of some of them. May return before it is done, but reads
        the batch's arrays before it returns."""
