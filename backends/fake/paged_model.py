"""A language model whose KV is the tokens themselves, its next token a hash of all it reads.

It runs under the real core in microseconds a row; a page mixed up, lost or read too early changes
its output as it would a real model's.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backends.llm.lora.weights import LoadedAdapter
from backends.llm.model.batch import StepBatch
from backends.llm.model.config import ModelConfig

CONFIG = ModelConfig(
    num_layers=1,
    hidden_size=2,
    intermediate_size=2,
    num_heads=1,
    num_kv_heads=1,
    head_dim=2,
    vocab_size=256,
    max_positions=1 << 16,
    rms_eps=1e-6,
    rope_theta=1e4,
)


class TokenPool:
    """A slot holds a token."""

    def __init__(self, num_pages: int, page_size: int) -> None:
        self.page_size = page_size
        self.tokens = np.full((num_pages, page_size), -1, np.int64)

    def copy_page(self, source: int, target: int) -> None:
        self.tokens[target] = self.tokens[source]

    def export_pages(self, pages: list[int]) -> Tensor:
        return torch.from_numpy(self.tokens[pages].view(np.uint8))

    def import_pages(self, pages: list[int], values: Tensor) -> None:
        self.tokens[pages] = values.numpy().view(np.int64)


class PagedModel:
    """Greedy decoding of it is a fixed function of the prompt."""

    config = CONFIG
    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self) -> None:
        weights = np.random.default_rng(0).integers(1, 1 << 40, CONFIG.max_positions)
        self._weights: NDArray[np.int64] = weights

    def make_pool(self, num_pages: int, page_size: int) -> TokenPool:
        return TokenPool(num_pages, page_size)

    def adapter_bytes(self, adapter: LoadedAdapter) -> int:
        return adapter.num_bytes

    def forward(self, batch: StepBatch, kv: TokenPool) -> Tensor | None:
        for span in batch.spans:
            rows = slice(span.start, span.end)
            pages, slots = np.divmod(batch.positions[rows], kv.page_size)
            kv.tokens[np.array(span.pages)[pages], slots] = batch.tokens[rows]
        if not len(batch.logit_rows):
            return None
        logits = torch.zeros(len(batch.logit_rows), CONFIG.vocab_size)  # [R, V]
        wanted = {int(row): i for i, row in enumerate(batch.logit_rows)}
        for span in batch.spans:
            for row in range(span.start, span.end):
                if row in wanted:
                    read = kv.tokens[span.pages].reshape(-1)[: batch.positions[row] + 1]
                    logits[wanted[row], self._next(read)] = 1.0
        return logits

    def _next(self, tokens: NDArray[np.int64]) -> int:
        mixed = int(tokens @ self._weights[: len(tokens)])  # wraps around
        return mixed * 0x9E3779B97F4A7C15 >> 32 & 255
