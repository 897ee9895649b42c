"""A language model whose KV is the tokens themselves, its next token a hash of all it reads.

It runs under the real core in microseconds a row; a page mixed up, lost or read too early changes
its output as it would a real model's.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backends.llm.lora.adapter import LoadedAdapter
from backends.llm.model.batch import Floats, Ints, StepBatch, StepOutput, Watch
from backends.llm.model.config import ModelConfig
from backends.llm.model.step_model import Done

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

    def places(self, pages: list[int]) -> Ints:
        """Where the tokens of pages lie."""
        return (np.array(pages)[:, None] * self.page_size + np.arange(self.page_size)).reshape(-1)

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
    layout = "tokens"

    def __init__(self) -> None:
        weights = np.random.default_rng(0).integers(1, 1 << 40, CONFIG.max_positions)
        self._weights: NDArray[np.int64] = weights

    def make_pool(self, num_pages: int, page_size: int) -> TokenPool:
        return TokenPool(num_pages, page_size)

    @property
    def frequencies(self) -> Floats:
        return np.zeros(1, np.float32)

    def read(
        self,
        kv: TokenPool,
        layer: int,  # noqa: ARG002
        pages: list[int],
        first: int,
        num_tokens: int,
    ) -> tuple[Floats, Floats]:
        found = kv.tokens.reshape(-1)[kv.places(pages)[first : first + num_tokens]]
        both = found.astype(np.float32)[:, None, None].repeat(2, -1)
        return both, both

    def link(
        self,
        kv: TokenPool,
        pages: list[int],
        first: int,
        to_pages: list[int],
        to: int,
        num_tokens: int,
    ) -> None:
        source = kv.places(pages)[first : first + num_tokens]
        target = kv.places(to_pages)[to : to + num_tokens]
        kv.tokens.reshape(-1)[target] = kv.tokens.reshape(-1)[source]

    def adapter_bytes(self, adapter: LoadedAdapter) -> int:
        return adapter.num_bytes

    def launch(self, batch: StepBatch, kv: TokenPool) -> Done:
        for span in batch.spans:
            rows = slice(span.start, span.end)
            pages, slots = np.divmod(batch.positions[rows], kv.page_size)
            kv.tokens[batch.pages_of(span)[pages], slots] = batch.tokens[rows]
        tokens = self._tokens(batch, kv)
        masses = [self._mass(batch, watch, kv) for watch in batch.watches]
        logits = torch.zeros(len(batch.with_logits), CONFIG.vocab_size)  # [R, V]
        for row, token in zip(logits, tokens[batch.with_logits], strict=True):
            row[token] = 1.0
        return Done(StepOutput(tokens, logits if len(logits) else None, tuple(masses)))

    def _mass(self, batch: StepBatch, watch: Watch, kv: TokenPool) -> Floats:
        """Every row attends to a token as much as its number says."""
        span = batch.spans[watch.span]
        read = kv.tokens[batch.pages_of(span)].reshape(-1)[: span.num_keys]
        places = batch.positions[watch.start : watch.end]
        return sum(
            (np.where(np.arange(len(read)) <= at, read, 0) for at in places), 0 * read
        ).astype(np.float32)

    def _tokens(self, batch: StepBatch, kv: TokenPool) -> Ints:
        """The next after each wanted row, [W]."""
        wanted, tokens = set(batch.wanted.tolist()), list[int]()
        for span in batch.spans:
            read = kv.tokens[batch.pages_of(span)].reshape(-1)
            rows = [row for row in range(span.start, span.end) if row in wanted]
            tokens += (self._next(read[: batch.positions[row] + 1]) for row in rows)
        return np.array(tokens, np.int64)

    def _next(self, tokens: NDArray[np.int64]) -> int:
        mixed = int(tokens @ self._weights[: len(tokens)])  # wraps around
        return mixed * 0x9E3779B97F4A7C15 >> 32 & 255
