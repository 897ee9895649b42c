"""One step laid out for the model: runs of tokens end to end, with the pages they touch."""

from bisect import bisect_left
from collections.abc import Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from backends.llm.fusion.look import Attention, Contact
from backends.llm.kv.page_pool import PagePool
from backends.llm.kv.page_table import PageRows, PageTable
from backends.llm.lora.adapter import LoadedAdapter
from backends.llm.model.dtypes import Logits
from backends.llm.sequence.sequence import Sequence

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


class Run(NamedTuple):
    """`num_tokens` tokens of a sequence that have no KV yet, computed in one step; the next tokens
    after the last `num_logits` of them are wanted: none of a prompt's chunk, one of a decode, one
    for each guess and one more of a speculation."""

    sequence: Sequence
    num_tokens: int
    num_logits: int
    start: int  # the place of the first
    guesses: tuple[int, ...] = ()  # the last of the tokens, where they are only guessed
    places: Items[int] | None = None  # of the tokens, ascending; None: one behind the other


class Span(NamedTuple):
    """A run inside the batch; six int32 as the kernels read it. Its rows ascend, but need not be
    neighbours: a prompt may read the KV of tokens between them from elsewhere."""

    start: int  # first row
    end: int
    num_keys: int  # N: tokens up to the run's last
    first_page: int  # where its pages begin in the page table, flat
    adapter: int = -1  # its place in the batch's adapters; -1: the base model alone
    is_linked: int = 0  # 1: the token behind its last has KV

    @property
    def num_rows(self) -> int:
        return self.end - self.start


class Watch(NamedTuple):
    """Rows whose attention is wanted: the weights of each key, summed over the rows, over heads and
    over layers from `first_layer` up to `end_layer`."""

    span: int
    start: int
    end: int
    first_layer: int
    end_layer: int


@dataclass(slots=True)
class StepBatch:
    """What the model runs in one step. The arrays are the builder's own and change with its next
    batch: a launch reads them before it returns."""

    tokens: Ints  # [T]
    positions: Ints  # [T]
    spans: list[Span]  # S of them, which cover all T rows
    span_table: NDArray[np.int32]  # [S, 6]: the spans
    wanted: Ints  # [W]: rows after which the next token is wanted, ascending
    with_logits: Ints  # [R]: places in `wanted` whose logits are wanted too, ascending
    page_rows: PageRows
    adapters: tuple[LoadedAdapter, ...] = ()
    watches: tuple[Watch, ...] = ()
    stop_layer: int | None = None  # of it only keys and values are computed, and nothing behind it;
    # None: all is

    def pages_of(self, span: Span) -> NDArray[np.int32]:
        """Those of a span's first N tokens, [P]."""
        num_pages = -(-span.num_keys // self.page_rows.page_size)
        return self.page_rows.flat[span.first_page : span.first_page + num_pages]


class StepOutput(NamedTuple):
    """What a step found."""

    tokens: Ints  # [W]: the likeliest after each wanted row, the lowest of equals; NO_TOKEN where
    # its logits are not finite
    logits: "Logits | None"  # [R, V] float32 of `with_logits`, good until the next launch; or None
    masses: tuple[Floats, ...] = ()  # of each watch [num_keys of its span]


NO_TOKEN = -1


_FIRST_ROWS = 512


class BatchBuilder:
    """Of one model and its pool; `num_rows` is the most runs of a step, `max_tokens` the most
    tokens of a sequence. A batch is good until the next one is built."""

    def __init__(self, pool: PagePool, num_rows: int, max_tokens: int) -> None:
        max_pages = min(pool.num_pages, pool.pages_for(max_tokens))
        self._page_rows = PageRows(num_rows, max_pages, pool.page_size)
        self._page_size = pool.page_size
        self._max_pages = max_pages
        self._spans = np.empty((num_rows, len(Span._fields)), np.int32)
        self._grow(_FIRST_ROWS)

    def build(self, runs: Items[Run]) -> StepBatch:
        """Sequences must have pages for all tokens they compute in this step."""
        tokens: list[int] = []
        positions: list[int] = []
        spans: list[Span] = []
        wanted: list[int] = []
        with_logits: list[int] = []
        adapters: dict[LoadedAdapter, int] = {}
        self._page_rows.begin_step()
        watches: list[Watch] = []
        for sequence, num_tokens, num_logits, first, guesses, places in runs:
            row, table = len(tokens), sequence.table
            end = places[-1] + 1 if places else first + num_tokens
            if places:
                tokens += [sequence.ids[at] for at in places]
            else:
                tokens += sequence.ids[first:end]
            tokens += guesses
            positions += places or range(first, end)
            if places and isinstance(look := sequence.look, Attention | Contact):
                watches += _watches(sequence, look, len(spans), row, places)
            page_row = self._page_rows.place(table, -(-end // self._page_size))
            at = -1
            if sequence.adapter is not None and sequence.adapter.loaded is not None:
                at = adapters.setdefault(sequence.adapter.loaded, len(adapters))
            is_linked = sequence.reads(end)
            spans.append(
                Span(row, row + num_tokens, end, page_row * self._max_pages, at, is_linked)
            )
            if sequence.wants_logits:
                with_logits += range(len(wanted), len(wanted) + num_logits)
            wanted += range(row + num_tokens - num_logits, row + num_tokens)
        if len(tokens) > len(self._tokens):
            self._grow(2 * len(tokens))
        self._spans[: len(spans)] = spans
        return StepBatch(
            _filled(self._tokens, tokens),
            _filled(self._positions, positions),
            spans,
            self._spans[: len(spans)],
            _filled(self._wanted, wanted),
            _filled(self._with_logits, with_logits),
            self._page_rows,
            tuple(adapters),
            tuple(watches),
            look.stop_layer if (look := runs[0].sequence.look) is not None else None,
        )

    def _grow(self, num_rows: int) -> None:
        self._tokens: Ints = np.empty(num_rows, np.int64)
        self._positions: Ints = np.empty(num_rows, np.int64)
        self._wanted: Ints = np.empty(num_rows, np.int64)
        self._with_logits: Ints = np.empty(num_rows, np.int64)


def _watches(
    sequence: Sequence, look: Attention | Contact, span: int, row: int, places: Items[int]
) -> Iterator[Watch]:
    """Of the question's rows among a run's; or one for each row of a chunk."""
    if isinstance(look, Attention):
        first, end = bisect_left(places, sequence.look_from), len(places)
        if first < end:  # else a step without a row of the question
            yield Watch(span, row + first, row + end, look.first_layer, look.end_layer)
        return
    for part in sequence.placed:
        for i in range(bisect_left(places, part.at), bisect_left(places, part.end)):
            yield Watch(span, row + i, row + i + 1, look.first_layer, look.end_layer)


def _filled(array: Ints, values: list[int]) -> Ints:
    array[: len(values)] = values
    return array[: len(values)]


def batch_of(page_size: int, *parts: tuple[Items[int], int, list[int]]) -> StepBatch:
    """A batch without a core, for tests and measurements: of each text (its tokens, the place of
    the first of them, all pages up to the last). The logits of all rows are wanted."""
    page_rows = PageRows(len(parts), max(len(pages) for _, _, pages in parts), page_size)
    page_rows.begin_step()
    tokens: list[int] = []
    positions: list[int] = []
    spans: list[Span] = []
    for ids, first, pages in parts:
        table = PageTable()
        table.pages = pages
        first_page = page_rows.place(table, len(pages)) * page_rows.array.shape[1]
        end = first + len(ids)
        spans.append(Span(len(tokens), len(tokens) + len(ids), end, first_page))
        tokens += ids
        positions += range(first, end)
    rows = np.arange(len(tokens))
    return StepBatch(
        np.array(tokens, np.int64),
        np.array(positions, np.int64),
        spans,
        np.array(spans, np.int32),
        wanted=rows,
        with_logits=rows,
        page_rows=page_rows,
    )
