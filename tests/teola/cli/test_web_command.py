from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Teola = Callable[..., Any]


@pytest.fixture
def trace_file(teola: Teola, tmp_path: Path) -> Path:
    assert teola("run", "app.py:talk", "--topic", "sea", "--trace", "t.jsonl").code == 0
    return tmp_path / "t.jsonl"


def test_a_page_is_written_beside_its_trace(teola: Teola, trace_file: Path) -> None:
    done = teola("trace", str(trace_file), "--web")
    page = trace_file.with_suffix(".html")

    assert done.code == 0
    assert done.out.startswith(f"wrote {page} (")
    assert "<title>t.jsonl · teola trace</title>" in page.read_text()


@pytest.mark.parametrize("words", [["--web", "out/page.html"], ["out/page.html", "--web"]])
@pytest.mark.usefixtures("trace_file")
def test_a_page_is_written_where_it_is_asked_for(
    teola: Teola, tmp_path: Path, words: list[str]
) -> None:
    assert teola("trace", "t.jsonl", *words).code == 0
    assert (tmp_path / "out" / "page.html").exists()


@pytest.mark.parametrize(
    "words", [["t.jsonl", "u.jsonl", "--web"], ["t.jsonl", "--web", "--beside", "u.jsonl"]]
)
def test_two_traces_have_one_page(teola: Teola, trace_file: Path, words: list[str]) -> None:
    trace_file.with_name("u.jsonl").write_bytes(trace_file.read_bytes())
    done = teola("trace", *words)

    assert done.code == 0
    page = trace_file.with_name("t-u.html").read_text()
    assert "<title>t.jsonl | u.jsonl · teola trace</title>" in page


def test_a_trace_has_what_models_write_only_where_that_is_asked_for(
    teola: Teola, trace_file: Path
) -> None:
    assert teola("trace", str(trace_file), "--web").code == 0
    without = trace_file.with_suffix(".html").read_text()
    words = ("--topic", "sea", "--trace", "t.jsonl", "--trace-texts")
    assert teola("run", "app.py:talk", *words).code == 0
    assert teola("trace", str(trace_file), "--web").code == 0

    assert '"text":"one two three"' not in without
    assert '"text":"one two three"' in trace_file.with_suffix(".html").read_text()


def test_texts_without_a_trace_are_a_wrong_usage(teola: Teola) -> None:
    done = teola("run", "app.py:talk", "--topic", "sea", "--trace-texts")

    assert done.code == 2
    assert "--trace-texts needs --trace FILE" in done.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["t.jsonl", "t.jsonl"], 2, "two files are shown beside each other by --web only"),
        (["t.jsonl", "--beside", "t.jsonl"], 2, "by --web only"),
        (["t.jsonl", "t.jsonl", "t.jsonl", "--web"], 2, "not 3"),
        (["page.html", "--web"], 2, "write the trace first"),
        (["gone.jsonl", "--web"], 1, "error: gone.jsonl: No such file or directory"),
        (["app.py", "--web"], 1, "not an event of a trace"),
    ],
)
@pytest.mark.usefixtures("trace_file")
def test_what_cannot_be_a_page_is_one_clear_message(
    teola: Teola, words: list[str], code: int, message: str
) -> None:
    done = teola("trace", *words)

    assert (done.code, done.out) == (code, "")
    assert message in done.err
