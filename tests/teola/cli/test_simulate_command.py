"""`teola simulate`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import teola
from teola.cli.main import app

ROOT = Path(teola.__file__).parents[1]
MAIN = "from teola.cli.main import main; main()"
APP = """
import teola as tl

llm = tl.LLM("emulated:a100/llama-3.1-8b?tokenizer=bytes&output_tokens=30")
embedder = tl.Embedder("emulated:a100/bge-small")
store = tl.Store("local:", embedder=embedder)

@tl.prompt(llm)
def answer(question: str, found: list[tl.Doc]) -> str:
    return f"Answer {question} from {tl.join(found)}"

@tl.app
def ask(question: str, rate: int = 3) -> str:
    docs = [tl.Doc("The sea is deep."), tl.Doc("Water is wet."), tl.Doc("A blue whale.")]
    return answer(question, store.index(docs).search(question, k=2))
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "asks.py").write_text(APP)
    return str(tmp_path / "asks.py")


def simulate(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["simulate", *words])
    return done.exit_code, done.output


def test_policies_stand_side_by_side(path: str) -> None:
    words = (path, "--question", "Is it deep?", "--run-rate", "50", "--queries", "30")
    code, output = simulate(*words, "--policy", "fcfs,application_aware")
    assert code == 0, output
    for said in ("fcfs", "application_aware", "P99 s", "TTFT mean s", "llm busy", "preemptions"):
        assert said in output


def test_the_figures_as_json_name_the_load_and_the_engines(path: str) -> None:
    words = (path, "--question", "Deep?", "--run-rate", "9", "--duration", "5", "--json")
    code, output = simulate(*words, "--engine", "llm=emulated:2xh100/llama-3.1-8b?tokenizer=bytes")
    assert code == 0, output
    found = json.loads(output)
    assert (found["app"], found["rate"], found["duration"]) == ("ask", "9", "5")
    assert found["engines"]["llm"] == "emulated:2xh100/llama-3.1-8b?tokenizer=bytes"
    figures = found["policies"]["default"]
    assert 25 < figures["queries"] < 70
    assert figures["p99_s"] >= figures["p50_s"] > 0
    assert 0 < figures["utilisation"]["llm"] < 1


def test_arguments_come_from_a_file_in_turn(path: str, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "one"}\n{"question": "two"}\n')
    log = tmp_path / "log.jsonl"
    words = (path, "--inputs", str(rows), "--run-rate", "9", "--queries", "4", "--log", str(log))
    code, output = simulate(*words)
    assert code == 0, output
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [event["kind"] for event in events].count("done") == 4


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--run-rate", "4", "--policy", "fair"), 1, "unknown policy 'fair'"),
        (("--run-rate", "much"), 2, "--rate is a number"),
        ((), 1, "say how often queries come"),
        (("--run-rate", "1", "--duration", "1e-9"), 1, "no query comes within the duration"),
        (("--run-rate", "4", "--engines", "3xh1"), 1, "there is no device 'h1'"),
        (("--trace", "nowhere.csv"), 1, "trace nowhere.csv: No such file"),
    ],
)
def test_what_is_wrong_is_said(path: str, words: tuple[str, ...], code: int, said: str) -> None:
    found, output = simulate(path, "--question", "q", "--queries", "2", *words)
    assert found == code, output
    assert said in output


def test_every_run_of_a_seed_writes_the_same_bytes(path: str, tmp_path: Path) -> None:
    logs = []
    for number in (1, 2):
        log = tmp_path / f"{number}.jsonl"
        words = ["--question", "Is it deep?", "--run-rate", "60", "--queries", "25", "--quiet"]
        words += ["--engines", "2xh100", "--policy", "application_aware", "--log", str(log)]
        words += ["--trace", str(_lengths(tmp_path))]
        subprocess.run(
            [sys.executable, "-c", MAIN, "simulate", path, *words],
            env={**os.environ, "PYTHONHASHSEED": str(number), "PYTHONPATH": str(ROOT)},
            check=True,
            capture_output=True,
        )
        logs.append(log.read_bytes())
    assert logs[0] == logs[1]
    assert logs[0].count(b'"done"') == 25


def _lengths(folder: Path) -> Path:
    path = folder / "lengths.csv"
    path.write_text("context_tokens,generated_tokens\n9,11\n9,21\n9,31\n")
    return path


def test_a_chat_is_simulated_without_an_app(tmp_path: Path) -> None:
    trace = str(_lengths(tmp_path))
    words = ("chat", "--trace", trace, "--rate", "20", "--queries", "200", "--engines", "2xa100")
    code, output = simulate(*words, "--policy", "fcfs,vtc", "--json")
    assert code == 0, output
    found = json.loads(output)
    assert found["engine"] == "emulated:2xa100/llama-3.1-8b?detail=events"
    assert set(found["policies"]) == {"fcfs", "vtc"}
    assert found["policies"]["fcfs"]["queries"] == 200
    code, output = simulate("chat", "--rate", "3")
    assert (code, "name a trace" in output) == (2, True)
    code, output = simulate("chat", "--help")
    assert (code, "--model NAME" in output) == (0, True)
