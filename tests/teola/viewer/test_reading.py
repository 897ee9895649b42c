from dataclasses import replace
from pathlib import Path

import pytest
from viewer_query import EVENTS, demo, lines_of, write

from teola.viewer.reading import read_trace_file


def test_a_file_gives_the_same_trace_as_the_live_events(tmp_path: Path) -> None:
    assert read_trace_file(write(tmp_path / "t.jsonl", EVENTS)).traces == (demo(),)


def test_a_cut_off_last_line_is_left_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(lines_of(EVENTS[:9])) + '\n{"t": 100.6, "ki')
    file = read_trace_file(path)

    assert len(file.traces[0].spans) > 1
    assert "line 10, the last one, is cut off" in file.warning


@pytest.mark.parametrize("size", [1, 5, 40, 200])
def test_a_file_that_is_cut_off_in_its_first_line_says_so(tmp_path: Path, size: int) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(lines_of(EVENTS)[0][:size])
    with pytest.raises(ValueError, match=r"t\.jsonl:1: the trace is cut off in its first line"):
        read_trace_file(path)


def test_a_record_without_an_end_is_said_to_be_unfinished(tmp_path: Path) -> None:
    file = read_trace_file(write(tmp_path / "t.jsonl", EVENTS[:9]))

    assert file.traces[0].status == "running"
    assert "stops before the query's end" in file.warning


def test_a_bad_line_in_the_middle_is_an_error_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    lines = lines_of(EVENTS)
    path.write_text("\n".join([lines[0], "oops", *lines[1:]]))

    with pytest.raises(ValueError, match=r"t\.jsonl:2: not an event of a trace: 'oops'"):
        read_trace_file(path)


@pytest.mark.parametrize("content", ["", "hello\n", "[1, 2]\n", "\x00\xff\n"])
def test_a_file_that_is_no_trace_is_an_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(content)

    with pytest.raises(ValueError, match="trace"):
        read_trace_file(path)


def test_bytes_that_are_no_text_are_an_error_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"\xff\xfe\x00\n" * 3)

    with pytest.raises(ValueError, match="not an event"):
        read_trace_file(path)


def test_fields_of_a_wrong_kind_are_an_error_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"t": 1, "kind": "query", "query": "q", "graph": "", "origins": [1]}\n')

    with pytest.raises(ValueError, match="not a trace that this version can read"):
        read_trace_file(path)


def test_several_queries_may_be_mixed_in_one_file(tmp_path: Path) -> None:
    others = [replace(event, query="q2") for event in EVENTS]
    mixed = sorted([*EVENTS, *others], key=lambda event: event.t)
    traces = read_trace_file(write(tmp_path / "t.jsonl", mixed)).traces

    assert [trace.query for trace in traces] == ["q1", "q2"]
    assert traces[1].spans == demo().spans


def test_a_second_run_of_the_same_query_name_is_a_query_of_its_own(tmp_path: Path) -> None:
    traces = read_trace_file(write(tmp_path / "t.jsonl", [*EVENTS, *EVENTS])).traces

    assert [len(trace.spans) for trace in traces] == [8, 8]
