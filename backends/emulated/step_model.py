"""A model whose steps take time and compute nothing: pages hold nobody's numbers."""

import numpy as np
import torch
from torch import Tensor

from backends.emulated.roofline import Roofline, Rows
from backends.emulated.timeline import StepTimer
from backends.errors import ConfigError
from backends.llm.lora.adapter import LoadedAdapter
from backends.llm.model.batch import NO_TOKEN, Floats, StepBatch, StepOutput
from backends.llm.model.config import ModelConfig
from backends.llm.model.step_model import Done


class EmptyPool:
    """Pages in name only: their tokens are those of the sequences that hold them."""

    def __init__(self, page_size: int) -> None:
        self.page_size = page_size

    def copy_page(self, source: int, target: int) -> None:
        """There is nothing to copy."""

    def export_pages(self, pages: list[int]) -> Tensor:
        return torch.empty(len(pages), 0, dtype=torch.uint8)

    def import_pages(self, pages: list[int], values: Tensor) -> None:
        """There is nothing to bring."""


class RooflineModel:
    """Spends each step's seconds on a timer and finds no token: `scripts` says what is sampled."""

    device = torch.device("cpu")
    dtype = torch.bfloat16
    layout = "none"

    def __init__(self, roofline: Roofline, vocab_size: int, timer: StepTimer) -> None:
        """`vocab_size` is the tokenizer's, which may differ from that of the model's shape."""
        shape = roofline.shape
        self._roofline = roofline
        self._timer = timer
        self.config = ModelConfig(
            num_layers=shape.layers,
            hidden_size=shape.hidden,
            intermediate_size=shape.intermediate,
            num_heads=shape.heads,
            num_kv_heads=shape.num_kv_heads,
            head_dim=shape.head_size,
            vocab_size=vocab_size,
            max_positions=shape.max_tokens,
            rms_eps=1e-6,
            rope_theta=1e4,
            tied_embeddings=shape.tied_embeddings,
        )

    def make_pool(self, num_pages: int, page_size: int) -> EmptyPool:  # noqa: ARG002
        return EmptyPool(page_size)

    @property
    def frequencies(self) -> Floats:
        return np.zeros(self.config.head_dim // 2, np.float32)

    def read(
        self,
        kv: EmptyPool,  # noqa: ARG002
        layer: int,  # noqa: ARG002
        pages: list[int],  # noqa: ARG002
        first: int,  # noqa: ARG002
        num_tokens: int,
    ) -> tuple[Floats, Floats]:
        """All alike: no token is more worth computing again than another."""
        nothing = np.zeros((num_tokens, 1, 2), np.float32)
        return nothing, nothing

    def link(
        self,
        kv: EmptyPool,
        pages: list[int],
        first: int,
        to_pages: list[int],
        to: int,
        num_tokens: int,
    ) -> None:
        """Takes no time: bytes that a prefill would have written many times as slowly."""

    def adapter_bytes(self, adapter: LoadedAdapter) -> int:  # noqa: ARG002
        raise ConfigError("an emulated engine takes no LoRA adapters")

    def launch(self, batch: StepBatch, kv: EmptyPool) -> Done:  # noqa: ARG002
        """Takes the step's time, and what an engine takes before a step."""
        spans = [Rows(span.num_rows, span.num_keys) for span in batch.spans]
        num_wanted = len(batch.wanted)
        layers = self.config.num_layers
        share = 1.0 if batch.stop_layer is None else batch.stop_layer / layers
        step_s = self._roofline.step_s(spans, num_wanted) * share
        self._timer.spend(step_s, after_s=self._roofline.device.between_steps_s)
        masses = tuple(np.ones(batch.spans[w.span].num_keys, np.float32) for w in batch.watches)
        return Done(StepOutput(np.full(num_wanted, NO_TOKEN), None, masses))
