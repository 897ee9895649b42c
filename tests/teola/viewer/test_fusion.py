"""A fused prompt in the viewer."""

from dataclasses import asdict, replace
from pathlib import Path
from textwrap import dedent
from typing import Any

from viewer_query import EVENTS, at, demo, drawn, trace_of, write

from backends.base import FusionReport
from teola.viewer.fusion import fused_prompts, fusion_table, rows_text
from teola.viewer.model import Trace
from teola.viewer.notebook_bundle import bundle
from teola.viewer.page import page
from teola.viewer.reading import TraceFile, read_trace_file
from teola.viewer.summary import header, run_summary
from teola.viewer.to_json import file_as_json

REPORT = FusionReport("query(0.15)", 12, 2, 1583, (1583, *(310,) * 29), 1.234)


def fused_events() -> list[Any]:
    ended = at(
        0.7,
        "end",
        "answer.prompt",
        "prefill",
        prefill_tokens=100,
        cached_tokens=60,
        fused_tokens=1273,
        fusion=asdict(REPORT),
    )
    is_old = [event.kind == "end" and event.node == "answer.prompt" for event in EVENTS]
    return [ended if old else event for event, old in zip(EVENTS, is_old, strict=True)]


def fused() -> Trace:
    return trace_of(fused_events())


def text(expected: str) -> str:
    return dedent(expected).strip("\n").rstrip()


def test_the_header_says_what_was_reused_encoded_and_saved() -> None:
    assert drawn(header(fused())).splitlines()[1:] == [
        "8 primitives in 7 batches, 140 prefilled, 60 cached, 1,273 fused, 42 decoded tokens",
        "1 fused prompt: 10 chunks reused, 2 encoded, 1.23 s saved by estimate",
    ]


def test_a_table_has_the_plan_and_the_rows_of_each_layer() -> None:
    assert drawn(fusion_table(fused_prompts(fused()), 100)) == text(
        """
        fused prompt               chunks  encoded  tokens  fused   saved  cost  rows of a layer
        LINE
        answer.prompt query(0.15)      12        2   1,583  1,273  1.23 s   22%  1,583, 310 x29
        """
    ).replace("LINE", "─" * 88)


def test_rows_that_differ_by_layer_are_told_layer_by_layer() -> None:
    assert rows_text((100, 40, 40, 12)) == "100, 40 x2, 12"


def test_the_page_shows_fusion_and_only_where_there_was_some() -> None:
    assert "KV cache fusion" in drawn(page(fused(), 100))
    assert "fus" not in drawn(page(demo(), 100))
    assert "query(0.15)" in bundle(fused())["text/html"]


def test_no_line_is_wider_than_the_terminal() -> None:
    for width in (60, 80, 120):
        assert max(map(len, drawn(page(fused(), width), width).splitlines())) <= width


def test_tokens_that_were_fused_stand_in_the_tree_and_the_waterfall() -> None:
    drawing = drawn(page(fused(), 100, with_primitives=True))
    assert "prefill  cached  fused  decode" in drawing
    assert "100 prefill 60 cached 1,273 fused" in drawing
    assert "1,273 fused" in run_summary(fused())


def test_fused_prompts_of_apps_inside_a_query_count() -> None:
    outer = replace(demo(), inside=(fused(),))
    assert [prompt.report for prompt in fused_prompts(outer)] == [REPORT]


def test_a_file_keeps_the_report_and_json_has_it(tmp_path: Path) -> None:
    file = read_trace_file(write(tmp_path / "t.jsonl", fused_events()))
    (prompt,) = fused_prompts(file.traces[0])
    assert (prompt.report, prompt.num_fused, prompt.num_reused) == (REPORT, 1273, 10)
    (query,) = file_as_json(TraceFile(file.traces))["queries"]
    reports = [span["fusion"] for span in query["spans"] if span["fusion"]]
    assert reports == [asdict(REPORT)]
    assert query["usage"]["fused_tokens"] == 1273


def test_more_computed_than_saved_is_a_loss() -> None:
    events = fused_events()
    for event in events:
        if "fusion" in event.fields:
            event.fields["fusion"]["saved_s"] = -0.05
    assert "-50.0 ms saved" in drawn(header(trace_of(events)))
