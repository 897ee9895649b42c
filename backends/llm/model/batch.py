"""One step laid out for the model: runs of tokens end to end, with the pages they touch."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from backends.llm.kv.page_table import PageRows
from backends.llm.lora.adapter import LoadedAdapter
from backends.llm.model.dtypes import Logits
from backends.llm.sequence.sequence import Sequence

Ints = NDArray[np.int64]


class Run(NamedTuple):
    """The next `num_tokens` tokens of a sequence that have no KV yet, computed in one step; the
    next tokens after the last `num_logits` of them are wanted: none of a prompt's chunk, one of a
    decode, one for each guess and one more of a speculation."""

    sequence: Sequence
    num_tokens: int
    num_logits: int
    guesses: tuple[int, ...] = ()  # the last of the tokens, where they are only guessed


class Span(NamedTuple):
    """A run inside the batch; five int32 as the kernels read it."""

    start: int  # first row
    end: int
    num_keys: int  # N: tokens up to the run's last
    first_page: int  # where its pages begin in the page table, flat
    adapter: int = -1  # its place in the batch's adapters; -1: the base model alone

    @property
    def num_rows(self) -> int:
        return self.end - self.start


@dataclass(slots=True)
class StepBatch:
    """What the model runs in one step. The arrays are the builder's own and change with its next
    batch: a launch reads them before it returns."""

    tokens: Ints  # [T]
    positions: Ints  # [T]
    spans: list[Span]  # S of them, which cover all T rows
    span_table: NDArray[np.int32]  # [S, 5]: the spans
    wanted: Ints  # [W]: rows after which the next token is wanted, ascending
    with_logits: Ints  # [R]: places in `wanted` whose logits are wanted too, ascending
    page_rows: PageRows
    adapters: tuple[LoadedAdapter, ...] = ()

    def pages_of(self, span: Span) -> NDArray[np.int32]:
        """Those of a span's first N tokens, [P]."""
        num_pages = -(-span.num_keys // self.page_rows.page_size)
        return self.page_rows.flat[span.first_page : span.first_page + num_pages]

    def adapter_of(self, span: Span) -> LoadedAdapter | None:
        """None: the base model alone."""
        return self.adapters[span.adapter] if span.adapter >= 0 else None


class StepOutput(NamedTuple):
    """What a step found."""

    tokens: Ints  # [W]: the likeliest after each wanted row, the lowest of equals; NO_TOKEN where
    # its logits are not finite
    logits: "Logits | None"  # [R, V] float32 of `with_logits`, good until the next launch; or None


NO_TOKEN = -1
