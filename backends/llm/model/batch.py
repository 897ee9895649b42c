"""One step laid out for the model: runs of tokens end to end, with the pages they touch."""

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from backends.llm.lora.weights import LoadedAdapter
from backends.llm.sequence.sequence import Sequence

Ints = NDArray[np.int64]


class Run(NamedTuple):
    """The next `num_tokens` tokens of a sequence that have no KV yet, computed in one step; the
    logits of the last `num_logits` of them are wanted: none of a prompt's chunk, one of a decode,
    one for each guess and one more of a speculation."""

    sequence: Sequence
    num_tokens: int
    num_logits: int
    guesses: tuple[int, ...] = ()  # the last of the tokens, where they are only guessed


@dataclass(frozen=True, slots=True)
class Span:
    """A run inside the batch."""

    start: int  # first row
    end: int
    num_keys: int  # N: tokens up to the run's last
    pages: list[int]  # those of the first N tokens
    adapter: LoadedAdapter | None = None  # None: the base model alone

    @property
    def num_rows(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class StepBatch:
    """What the model runs in one step."""

    tokens: Ints  # [T]
    positions: Ints  # [T]
    spans: tuple[Span, ...]
    logit_rows: Ints  # [R]: rows whose logits are wanted, in order


def build_batch(runs: Items[Run], page_size: int) -> StepBatch:
    """Sequences must have pages for all tokens they compute in this step."""
    tokens: list[int] = []
    positions: list[int] = []
    spans: list[Span] = []
    logit_rows: list[int] = []
    for sequence, num_tokens, num_logits, guesses in runs:
        row, first = len(tokens), sequence.table.num_computed
        end = first + num_tokens
        tokens += sequence.ids[first:end]
        tokens += guesses
        positions += range(first, end)
        pages = sequence.table.pages[: -(-end // page_size)]
        adapter = sequence.adapter.loaded if sequence.adapter is not None else None
        spans.append(Span(row, row + num_tokens, end, pages, adapter))
        logit_rows += range(row + num_tokens - num_logits, row + num_tokens)
    return StepBatch(
        tokens=np.array(tokens, np.int64),
        positions=np.array(positions, np.int64),
        spans=tuple(spans),
        logit_rows=np.array(logit_rows, np.int64),
    )
