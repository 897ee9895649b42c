"""The arrays of a step, the page table's updates and the choice of a graph: no kernel runs."""

import numpy as np
import pytest
import torch

from backends.llm.kv.page_table import PageRows, PageTable
from backends.llm.model.batch import Span, StepBatch, batch_of
from backends.llm.model.cuda.graphs import DecodeGraphs, DecodeOutput, graph_sizes
from backends.llm.model.cuda.kv_pool import MOST_CHANGES, DevicePageTable
from backends.llm.model.cuda.step_plan import (
    StepPlan,
    device_step,
    is_all_decodes,
    plan_decodes,
    plan_padding,
    plan_prompt_of_nobody,
    plan_step,
    tiles_of,
)
from backends.llm.model.cuda.transfers import StepUpload, TokenDownload

CPU = torch.device("cpu")


def table_for(num_rows: int = 4, max_pages: int = 8, scratch_page: int = 99) -> DevicePageTable:
    return DevicePageTable(num_rows, max_pages, page_size=4, scratch_page=scratch_page, device=CPU)


def sent(plan: StepPlan) -> dict[str, list[int]]:
    """The parts by name, after their way to the device."""
    upload = StepUpload(4096, CPU)
    step = device_step(upload.send(plan), plan.sizes)
    return {name: part.tolist() for name, part in step._asdict().items()}


def test_a_mixed_step_sends_single_rows_and_tiles_to_their_kernels() -> None:
    batch = batch_of(4, ([7, 8, 9], 4, [5, 2]), ([1], 6, [3, 0]), ([2], 0, [1]))
    batch.with_logits = np.array([1])
    step = sent(plan_step(batch, table_for()))
    assert step["tokens"] == [7, 8, 9, 1, 2]
    assert step["positions"] == [4, 5, 6, 6, 0]
    assert step["slots"] == [8, 9, 10, 2, 4]
    assert step["rows"] == [3, 4]
    assert step["table_rows"] == [1, 2]
    assert step["num_keys"] == [7, 1]
    assert step["tiles"] == [[0, 3, 0]]
    assert step["wanted"] == [0, 1, 2, 3, 4]
    assert step["with_logits"] == [1]
    assert step["places"] == [0, 1, 8, 9, 16]
    assert step["pages"] == [5, 2, 3, 0, 1]


def test_long_runs_are_cut_into_tiles() -> None:
    assert tiles_of(10, 70, 3) == [(10, 64, 3), (74, 6, 3)]


def test_decodes_are_filled_up_with_rows_that_touch_only_the_scratch_page() -> None:
    batch = batch_of(4, ([7], 6, [3, 0]), ([8], 1, [1]))
    batch.wanted, batch.with_logits = np.array([0, 1]), np.array([1])
    step = sent(plan_decodes(batch, table_for(), 4))
    assert step["tokens"] == [7, 8, 0, 0]
    assert step["positions"] == [6, 1, 0, 0]
    assert step["slots"] == [2, 5, 396, 396]
    assert step["rows"] == [0, 1, 2, 3]
    assert step["table_rows"] == [0, 1, 4, 4]
    assert step["num_keys"] == [7, 2, 1, 1]
    assert step["tiles"] == []
    assert step["wanted"] == [0, 1, 2, 3]
    assert step["with_logits"] == [1]
    table = table_for()
    assert table.cells[table.scratch_row].tolist() == [99] * 8


def test_padding_alone_and_the_largest_step_touch_only_the_scratch_page() -> None:
    table = table_for()
    padding = sent(plan_padding(table, 2))
    assert (padding["slots"], padding["table_rows"]) == ([396, 396], [4, 4])
    largest = sent(plan_prompt_of_nobody(table, 80, num_wanted=3))
    assert set(largest["slots"]) == {396}
    assert largest["tiles"] == [[0, 64, 4], [64, 16, 4]]
    assert largest["wanted"] == [0, 1, 2]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([([1], 0, [0]), ([2], 3, [1])], True),
        ([([1, 2], 0, [0])], False),
    ],
)
def test_only_single_rows_go_to_a_graph(
    parts: list[tuple[list[int], int, list[int]]], expected: bool
) -> None:
    assert is_all_decodes(batch_of(4, *parts)) is expected


class Sequences:
    """Page tables in one array of rows, and batches of single rows over them."""

    def __init__(self, num_rows: int, max_pages: int = 8) -> None:
        self.rows = PageRows(num_rows, max_pages, page_size=4)

    def batch(self, *tables: PageTable) -> StepBatch:
        self.rows.begin_step()
        spans = []
        for i, table in enumerate(tables):
            row = self.rows.place(table, len(table.pages))
            first_page = row * self.rows.array.shape[1]
            spans.append(Span(i, i + 1, 4 * len(table.pages), first_page))
        numbers = np.arange(len(spans))
        return StepBatch(
            *(numbers, numbers, spans, np.array(spans, np.int32), numbers, numbers),
            page_rows=self.rows,
        )


def pages(*numbers: int) -> PageTable:
    table = PageTable()
    table.pages = list(numbers)
    return table


def written(table: DevicePageTable, batch: StepBatch) -> int:
    """Bring the device's table up to date; how many entries that took."""
    changes = torch.from_numpy(table.changes(batch))
    table.write(*changes)
    for span in batch.spans:
        own = batch.pages_of(span).tolist()
        row = table.row_of(batch, span.first_page)
        assert table.cells[row, : len(own)].tolist() == own
    return changes.shape[1]


def test_the_device_table_is_written_only_where_it_changed() -> None:
    sequences, table = Sequences(2), table_for(num_rows=2)
    a, b = pages(7, 3), pages(4)
    assert written(table, sequences.batch(a, b)) == 3
    assert written(table, sequences.batch(a, b)) == 0
    a.pages.append(9)
    assert written(table, sequences.batch(b, a)) == 1
    a.set_page(1, 5)
    assert written(table, sequences.batch(a, b)) == 2  # from there on
    a.cut(1)
    assert written(table, sequences.batch(a, b)) == 0
    c = pages(8, 2)
    assert written(table, sequences.batch(c, b)) == 2  # in the row that a had
    assert written(table, sequences.batch(a, b)) == 1


def test_pages_of_a_step_that_was_never_launched_are_sent_with_the_next() -> None:
    sequences, table = Sequences(2), table_for(num_rows=2)
    a, b = pages(7, 3), pages(4)
    sequences.batch(a, b)
    assert written(table, sequences.batch(a)) == 2
    sequences.rows.take_changes()
    assert written(table, sequences.batch(b)) == 1


def test_very_many_changes_are_written_by_a_copy_of_their_own() -> None:
    count = MOST_CHANGES + 1
    sequences = Sequences(1, max_pages=count)
    table = table_for(num_rows=1, max_pages=count)
    assert written(table, sequences.batch(pages(*range(count)))) == 0
    assert table.cells[0].tolist() == list(range(count))


@pytest.mark.parametrize(
    ("max_running", "expected"),
    [
        (1, (1,)),
        (3, (1, 2, 4)),
        (32, (1, 2, 4, 8, 16, 24, 32)),
        (40, (1, 2, 4, 8, 16, 24, 32, 48)),
    ],
)
def test_graphs_are_captured_up_to_the_most_that_run(
    max_running: int, expected: tuple[int, ...]
) -> None:
    assert graph_sizes(max_running) == expected


def test_very_large_batches_have_no_graph() -> None:
    assert graph_sizes(1000)[-1] == 256


def test_a_batch_takes_the_smallest_graph_that_holds_it() -> None:
    prepared, ran = [], []

    def run(size: int) -> DecodeOutput:
        ran.append(size)
        return DecodeOutput(torch.zeros(size), torch.zeros(size, 1))

    graphs = DecodeGraphs((1, 4, 8), run, prepared.append, CPU)
    assert prepared == [8, 4, 1]  # the largest first: its memory serves all
    assert [graphs.size_for(n) for n in (1, 2, 4, 5, 8, 9)] == [1, 4, 4, 8, 8, None]
    assert len(graphs.replay(4).tokens) == 4
    assert ran == [4]


def test_steps_lie_at_the_same_place_on_the_device() -> None:
    table, upload = table_for(), StepUpload(100, CPU)
    first = upload.send(plan_padding(table, 2))
    second = upload.send(plan_padding(table, 4))
    assert first is second is upload.ints


def test_a_step_larger_than_the_buffer_still_arrives() -> None:
    table, upload = table_for(), StepUpload(10, CPU)
    plan = plan_prompt_of_nobody(table, 50, num_wanted=3)
    assert device_step(upload.send(plan), plan.sizes).tokens.tolist() == [0] * 50


def test_tokens_that_were_collected_stay_when_others_come() -> None:
    download = TokenDownload(2, CPU)
    download.start(torch.tensor([5, 6]))
    first = download.wait()
    download.start(torch.tensor([7, 8, 9]))
    assert first.tolist() == [5, 6]
    assert download.wait().tolist() == [7, 8, 9]


def test_all_parts_are_aligned_alike_so_that_kernels_are_compiled_once() -> None:
    for num_rows in (1, 2, 3, 5):
        sizes = plan_padding(table_for(), num_rows).sizes
        assert {where.start % 4 for where in sizes.slices} == {0}
