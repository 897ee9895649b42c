import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graph_opt.text import parse
from teola.cli.target import load_app

Teola = Callable[..., Any]
TWO_CALLS = """
import teola as tl

llm = tl.LLM("fake:")
store = tl.Store("fake:", embedder=tl.Embedder("fake:"))

@tl.prompt(llm)
def rewrite(x: str) -> str:
    return f"Rewrite {x}"

@tl.prompt(llm)
def answer(x: str, docs: list[tl.Doc]) -> str:
    return f"Answer from {tl.join(docs)} the question {x}"

@tl.app
def ask(x: str, k: int = 3) -> str:
    index = store.index(tl.load(["a.txt"]))
    return answer(x, index.search(rewrite(x), k=k))
"""


@pytest.fixture(autouse=True)
def _ask_file(tmp_path: Path) -> None:
    (tmp_path / "ask.py").write_text(TWO_CALLS)


def test_by_default_a_graph_is_an_outline_of_the_users_calls(teola: Teola) -> None:
    lines = [line.split()[0] for line in teola("graph", "ask.py").out.splitlines()]

    assert lines == ["ask", "x", "load", "index", "rewrite", "search", "answer"]


def test_the_primitives_can_be_read_back(teola: Teola) -> None:
    text = teola("graph", "ask.py", "--level", "primitive").out

    assert parse(text) == load_app("ask.py").graph()


def test_the_optimized_graph_is_the_one_after_all_passes(teola: Teola) -> None:
    text = teola("graph", "ask.py", "--level", "primitive", "--optimized").out

    assert parse(text) == load_app("ask.py").plan().after


def test_an_argument_specialises_the_graph(teola: Teola) -> None:
    assert "k=7" in teola("graph", "ask.py", "--level", "primitive", "--k", "7").out


@pytest.mark.parametrize("level", ["user", "primitive"])
@pytest.mark.parametrize(
    ("form", "start"), [("mermaid", "flowchart TD"), ("dot", "digraph "), ("svg", "<svg ")]
)
def test_a_graph_can_be_drawn_by_other_tools(
    teola: Teola, level: str, form: str, start: str
) -> None:
    done = teola("graph", "ask.py", "--format", form, "--level", level)

    assert done.out.startswith(start)
    assert done.err == ""


def test_a_graph_as_json_has_nodes_and_edges(teola: Teola) -> None:
    drawn = json.loads(teola("graph", "ask.py", "--format", "json").out)

    assert drawn.keys() == {"name", "nodes", "edges"}


def test_an_unknown_format_is_wrong_usage(teola: Teola) -> None:
    done = teola("graph", "ask.py", "--format", "png")

    assert done.code == 2
    assert done.err.startswith("error: argument --format: invalid choice: 'png'")


def test_a_plan_shows_before_passes_after_and_what_is_expected(teola: Teola) -> None:
    lines = teola("plan", "ask.py").out.splitlines()
    titles = [line.split(" ─")[0] for line in lines if " ─" in line]

    assert [title.split(":")[0] for title in titles] == [
        "before",
        "passes",
        "after",
        "expected critical path",
        "expected work of the engines",
        "when engines fail",
        "advice",
    ]
    assert lines[-1].startswith("longest chain ")


def test_a_plan_shows_the_text_that_a_pass_changed(teola: Teola) -> None:
    out = teola("plan", "ask.py").out

    assert "prune_dependencies  " in out
    assert "   - %rewrite.prompt = prefill" in out
    assert "   + %rewrite.prompt = prefill" in out


def test_a_plan_as_json_has_each_pass_and_the_chain_before_and_after(teola: Teola) -> None:
    plan = json.loads(teola("plan", "ask.py", "--json").out)

    assert plan["after"]["longest_chain"] < plan["before"]["longest_chain"]
    assert "prune_dependencies" in [done["name"] for done in plan["passes"]]


def test_a_plan_as_json_has_seconds_before_and_after_and_where_they_come_from(
    teola: Teola,
) -> None:
    plan = json.loads(teola("plan", "ask.py", "--json").out)
    before, after = plan["before"]["expected"], plan["after"]["expected"]

    assert 0 < after["critical_path_s"] < before["critical_path_s"]
    assert sum(step["adds_s"] for step in after["critical_path"]) == pytest.approx(
        after["critical_path_s"]
    )
    assert after["bound_s"] == max(after["critical_path_s"], *after["device_s"].values())
    assert after["bound_by"] == "critical path"
    assert set(before["work_s"]) == set(plan["sources"]) == {"python", "embedder", "store", "llm"}


def test_what_a_plan_expects_fits_80_columns(teola: Teola, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = teola("plan", "ask.py").out

    expected = out[out.index("expected critical path") :].splitlines()
    assert max(len(line.rstrip()) for line in expected) <= 80


def test_an_app_that_cannot_be_traced_is_one_clear_message(teola: Teola, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(TWO_CALLS.replace("index = ", "len(x)\n    index = "))
    done = teola("plan", "bad.py")

    assert done.code == 1
    assert done.err.startswith("error: ")
    assert "bad.py:17: len() of %x" in done.err
