import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Teola = Callable[..., Any]


@pytest.fixture
def trace_file(teola: Teola, tmp_path: Path) -> Path:
    assert teola("run", "app.py:talk", "--topic", "sea", "--trace", "t.jsonl").code == 0
    return tmp_path / "t.jsonl"


def test_a_trace_shows_calls_engines_and_critical_path(teola: Teola, trace_file: Path) -> None:
    done = teola("trace", str(trace_file))

    assert done.code == 0
    assert done.out.startswith("talk  query ")
    assert "llm  2 primitives, 2 batches" in done.out
    assert "critical path ─" in done.out


def test_a_trace_fits_80_columns(
    teola: Teola, trace_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = teola("trace", str(trace_file), "--level", "primitive").out

    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80


def test_a_trace_as_json_is_the_computed_model(teola: Teola, trace_file: Path) -> None:
    file = json.loads(teola("trace", str(trace_file), "--json").out)

    assert [span["op"] for span in file["queries"][0]["spans"]] == ["prefill", "decode"]


def test_a_run_can_be_compared_with_its_plan(teola: Teola, trace_file: Path) -> None:
    done = teola("trace", str(trace_file), "--plan")

    assert done.code == 0
    assert "the plan and the run ─" in done.out
    assert "say.prompt prefill" in done.out
    assert "numbers of the plan: llm default" in done.out


def test_the_comparison_is_in_the_json_too(teola: Teola, trace_file: Path) -> None:
    file = json.loads(teola("trace", str(trace_file), "--json").out)

    rows = file["queries"][0]["plan"]["primitives"]
    assert [row["op"] for row in rows] == ["prefill", "decode"]
    assert all(row["expected_s"] > 0 for row in rows)


def test_a_trace_that_holds_no_plan_cannot_be_compared(teola: Teola, trace_file: Path) -> None:
    first, *rest = trace_file.read_text().splitlines()
    begun = json.loads(first)
    del begun["plan"]
    trace_file.write_text("\n".join([json.dumps(begun), *rest]))
    done = teola("trace", str(trace_file), "--plan")

    assert done.code == 1
    assert "does not say what its plan expected" in done.err


def test_a_truncated_trace_shows_what_there_is_and_says_so(teola: Teola, trace_file: Path) -> None:
    trace_file.write_bytes(trace_file.read_bytes()[:-30])
    done = teola("trace", str(trace_file))

    assert done.code == 0
    assert "running" in done.out
    assert "warning: line " in done.out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["gone.jsonl"], 1, "error: gone.jsonl: No such file or directory"),
        (["app.py"], 1, "error: app.py:2: not an event of a trace"),
        (["t.jsonl", "--level", "deep"], 2, "error: --level is user or primitive, not 'deep'"),
    ],
)
@pytest.mark.usefixtures("trace_file")
def test_what_cannot_be_shown_is_one_clear_message(
    teola: Teola, words: list[str], code: int, message: str
) -> None:
    done = teola("trace", *words)

    assert (done.code, done.out) == (code, "")
    assert message in done.err


_VALUES = {"--otlp": "z.otlp", "--chrome": "z.json", "--level": "primitive"}


@pytest.mark.parametrize(
    "names",
    [
        *(("--web", name) for name in ("--otlp", "--chrome", "--json", "--plan", "--all")),
        *(("--otlp", name) for name in ("--json", "--plan", "--level")),
        *(("--chrome", name) for name in ("--json", "--plan", "--all")),
        ("--json", "--all"),
        ("--json", "--level"),
        ("--plan", "--level"),
        ("--why", "--plan"),
        ("--why", "--json"),
        ("--web", "--why"),
    ],
    ids="".join,
)
def test_options_that_exclude_each_other_are_refused_in_a_line(
    teola: Teola, trace_file: Path, names: tuple[str, str]
) -> None:
    before = {*trace_file.parent.iterdir()}
    words = [word for name in reversed(names) for word in (name, _VALUES.get(name)) if word]
    done = teola("trace", str(trace_file), *words)
    first, second = names
    said = f"error: {first} and {second} exclude each other; run the command twice"
    assert (done.code, done.err.splitlines()) == (2, [said])
    assert {*trace_file.parent.iterdir()} == before


def test_spans_and_chromes_events_are_written_together(teola: Teola, trace_file: Path) -> None:
    assert teola("trace", str(trace_file), "--otlp", "z.otlp", "--chrome", "z.json").code == 0
    assert {path.name for path in trace_file.parent.glob("z.*")} == {"z.otlp", "z.json"}


def test_a_plan_may_be_asked_for_as_json(teola: Teola, trace_file: Path) -> None:
    file = json.loads(teola("trace", str(trace_file), "--json", "--plan").out)
    assert file["queries"][0]["plan"]["primitives"]


def test_what_primitives_waited_for_is_a_table_a_query(teola: Teola, trace_file: Path) -> None:
    done = teola("trace", str(trace_file), "--why")
    assert done.code == 0
    assert "most of it" in done.out


def test_one_primitive_is_explained_in_sentences(teola: Teola, trace_file: Path) -> None:
    trace = json.loads(teola("trace", str(trace_file), "--json").out)["queries"][0]
    node = trace["spans"][-1]["node"]
    for name in (node, f"{trace['query']}.{node}"):
        done = teola("trace", str(trace_file), "--why", name)
        assert done.out.startswith(f"{trace['query']}.{node}, ")
        assert "Its inputs were there at " in done.out
        assert "Its engine is ordered by application_aware; 0 requests stayed behind" in done.out


def test_a_primitive_that_did_not_run_is_said_to_be_none(teola: Teola, trace_file: Path) -> None:
    trace = json.loads(teola("trace", str(trace_file), "--json").out)["queries"][0]
    node = trace["spans"][-1]["node"]
    done = teola("trace", str(trace_file), "--why", f"{node}s")
    assert done.code == 2
    assert done.err == f"error: the trace has no primitive '{node}s'; near it: {node}\n"
