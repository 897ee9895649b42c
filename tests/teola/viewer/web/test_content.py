from dataclasses import replace
from pathlib import Path
from typing import Any

from viewer_query import ABOUT, EVENTS, at, ran, write

from runtime.events import Event
from teola.viewer.reading import read_trace_file
from teola.viewer.web.content import file_content


def content_of(tmp_path: Path, events: list[Event]) -> Any:
    return file_content("t.jsonl", read_trace_file(write(tmp_path / "t.jsonl", events)))


def test_a_span_has_its_times_and_nothing_that_is_empty(tmp_path: Path) -> None:
    (query,) = content_of(tmp_path, EVENTS)["queries"]
    span = query["spans"][1]

    assert span == {
        "node": "expand",
        "op": "decode",
        "engine": "llm",
        "call": "expand",
        "ready_s": 0.1,
        "start_s": 0.1,
        "end_s": 0.4,
        "items": 1,
        "batch": 1,
        "batch_size": 1,
        "where": "app.py:7",
        "usage": {"decode_tokens": 12},
        "deps": 0,
        "line": 1,
    }
    assert query["dep_lists"][span["deps"]] == [0]
    assert query["lines"][1] == '%expand, %expand.context = decode %expand.prompt [engine="llm"]'


def test_items_of_a_map_share_what_they_waited_for(tmp_path: Path) -> None:
    (query,) = content_of(tmp_path, EVENTS)["queries"]
    spans = {span["node"]: span for span in query["spans"]}

    assert spans["hits[0].vector"]["deps"] == spans["hits[1].vector"]["deps"]
    assert len(query["dep_lists"]) < len(query["spans"])


def test_queries_have_their_begin_on_the_clock_of_the_file(tmp_path: Path) -> None:
    second = [
        replace(at(2, "query", **{**ABOUT, "app": "two"}), query="q2"),
        *(replace(event, query="q2") for event in ran("a", "embed", "e", (2.1, 2.2, 2.3), 0)),
        replace(at(2.5, "done", status="ok"), query="q2"),
    ]
    queries = content_of(tmp_path, [*EVENTS, *second])["queries"]

    assert [(query["app"], query["offset_s"]) for query in queries] == [("demo", 0), ("two", 2)]
    assert queries[1]["spans"][0]["start_s"] == 0.2


def test_calls_inside_others_stand_below_them_with_their_share_of_the_path(tmp_path: Path) -> None:
    (query,) = content_of(tmp_path, EVENTS)["queries"]
    calls = [(call["path"], call["depth"], call["critical_s"]) for call in query["calls"]]

    assert calls == [
        ("expand", 0, 0.4),
        ("map", 0, 0.22),
        ("map/search", 1, 0.22),
        ("answer", 0, 0.36),
    ]
