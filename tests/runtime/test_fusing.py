"""Whether a prompt is fused, by its real texts and by what came again of earlier ones."""

from collections.abc import Sequence
from typing import Any

import pytest

from backends.base import Chunk, FusionReport, Request, Result
from runtime.fusing import ChunkHistory, Fusing
from runtime.hints import Hint
from runtime.job import Job

TEXT = "x" * 400  # 100 tokens


class Behind:
    """A scheduler that answers at once."""

    def __init__(self, report: FusionReport | None = None) -> None:
        self.report = report
        self.seen: list[dict[str, Any]] = []

    def submit(self, job: Job) -> None:
        self.seen.append(dict(job.request.attrs))
        job.on_done(Result((None,), fusion=self.report))

    def cancel(self, job: Job) -> None:
        raise AssertionError


def submitted(
    history: ChunkHistory,
    chunks: Sequence[str],
    behind: Behind | None = None,
    op: str = "prefill",
    **attrs: Any,
) -> dict[str, Any]:
    """The attrs that the engine sees."""
    behind = behind or Behind()
    request = Request("r", op, (None, "Head.", *map(Chunk, chunks), "Why?"), attrs)
    job = Job(request, "q", Hint(0, 0.0), lambda _: None, lambda _: None)
    Fusing(behind, history).submit(job)  # type: ignore[arg-type]
    return behind.seen[0]


@pytest.mark.parametrize(
    ("num_chunks", "least", "is_fused"),
    [(0, None, False), (1, None, False), (2, None, True), (2, 100, True), (2, 101, False)],
)
def test_what_stands_behind_the_first_chunk_must_be_long_enough(
    num_chunks: int, least: int | None, is_fused: bool
) -> None:
    attrs = {"fusion": "reuse"} if least is None else {"fusion": "reuse", "fusion_from": least}
    found = submitted(ChunkHistory(), [TEXT] * num_chunks, **attrs)
    assert found == ({"fusion": "reuse"} if is_fused else {})


def unlike(number: int) -> list[str]:
    return [f"{number}.{i} {TEXT}" for i in range(3)]


AUTO = {"fusion": "reuse", "fusion_from": 1}


def test_a_chosen_plan_pauses_while_chunks_are_new_and_a_named_one_does_not() -> None:
    history = ChunkHistory()
    for number in range(14):
        submitted(history, unlike(number), **AUTO)
    assert submitted(history, unlike(99), **AUTO) == {}
    assert submitted(history, unlike(99), fusion="reuse") == {"fusion": "reuse"}
    for _ in range(4):
        submitted(history, unlike(99), **AUTO)
    assert submitted(history, unlike(99), **AUTO) == {"fusion": "reuse"}


def test_what_the_engine_reports_counts_more_than_what_was_seen() -> None:
    history, lost = ChunkHistory(), Behind(FusionReport("reuse", 3, 3, 300, (30,), 0.0))
    for _ in range(14):
        submitted(history, unlike(0), lost, **AUTO)
    assert submitted(history, unlike(0), **AUTO) == {}


def test_what_was_encoded_ahead_has_been_seen() -> None:
    history = ChunkHistory()
    submitted(history, unlike(0), op="encode")
    assert history.see([Chunk(text) for text in unlike(0)]) == 1.0
    assert history.see(unlike(1)) == 0.0


def test_how_chunks_are_encoded_ahead_is_left_as_it_is() -> None:
    attrs = {"fusion": "reuse+alone"}
    assert submitted(ChunkHistory(), [TEXT], op="encode", **attrs) == attrs
