"""`teola evaluate`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from teola.cli.main import app

APP = """
import teola as tl

llm = tl.LLM("fake:", replies={"France": "Paris", "Italy": "Roma"})

@tl.prompt(llm)
def answer(question: str) -> str:
    return f"Answer: {question}"

@tl.app
def ask(question: str) -> str:
    return answer(question)

def short(row, output):
    return len(output) < 6
"""
ROWS = [
    {"question": "France", "expected": "Paris", "also": "paris"},
    {"question": "Italy", "expected": "Rome", "also": "roma"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "asks.py").write_text(APP)
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    return tmp_path


def evaluate(folder: Path, *words: str) -> tuple[int, str]:
    command = ["evaluate", str(folder / "asks.py:ask"), str(folder / "rows.jsonl"), *words]
    done = CliRunner().invoke(app, command)
    return done.exit_code, done.output


def test_scores_are_a_table_and_rows_a_file(folder: Path) -> None:
    code, output = evaluate(folder, "--csv", str(folder / "out.csv"))
    assert code == 0
    assert "exact_match" in output
    assert "0.500" in output
    assert (folder / "out.csv").read_text().splitlines()[1].startswith("France,Paris,paris,Paris,")


def test_metrics_name_a_field_or_a_function_of_a_file(folder: Path) -> None:
    own = f"{folder / 'asks.py'}:short"
    code, output = evaluate(folder, "--metric", "contains:also", "--metric", own, "--json")
    assert code == 0
    scores = json.loads(output)["scores"]
    assert {name: score["mean"] for name, score in scores.items()} == {"contains:also": 1, own: 1}


def test_engines_are_replaced_and_all_rows_failing_is_a_failure(folder: Path) -> None:
    code, output = evaluate(folder, "--engine", "llm=fake:", "--json")
    assert code == 0
    assert json.loads(output)["scores"]["exact_match"]["mean"] == 0
    (folder / "rows.jsonl").write_text('{"wrong": 1}')
    code, output = evaluate(folder)
    assert code == 1
    assert "1 row failed" in output


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--metric", "bleu"], "no metric 'bleu'; there are exact_match"),
        (["--metric", "nothing.py:f"], "no such file"),
        (["--engine", "llm"], "--engine takes NAME=URL"),
    ],
)
def test_a_wrong_word_is_told(folder: Path, words: list[str], problem: str) -> None:
    code, output = evaluate(folder, *words)
    assert code != 0
    assert problem in output
