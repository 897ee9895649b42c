"""The sample apps on the real models and their own documents."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import teola as tl
from samples import advanced_rag, doc_qa, fused_answers
from teola.viewer.model import TraceBuilder

pytestmark = pytest.mark.model

FOLDER = Path(__file__).parent.parent.parent / "samples"
DOCUMENTS = [str(FOLDER / "data/sqlite")]
YEAR = "Until which year do the developers intend to support SQLite?"


def test_the_plain_rag_answers_from_the_documents() -> None:
    assert "2050" in doc_qa.ask(YEAR, DOCUMENTS)


@pytest.mark.parametrize(
    ("question", "contained"),
    [(YEAR, "2050"), ("What does the AUTOINCREMENT keyword prevent?", "reuse")],
)
def test_the_advanced_rag_answers_alike_optimized_and_plain(question: str, contained: str) -> None:
    optimized = advanced_rag.rag(question, DOCUMENTS)
    assert contained in optimized
    assert advanced_rag.rag.using(optimize=False)(question, DOCUMENTS) == optimized


def test_fused_answers_read_passages_that_others_computed() -> None:
    questions = ["Does SQLite need a server process?", "Does SQLite use a separate server?"]
    built = TraceBuilder()
    first, second = fused_answers.answers.using(listener=built)(questions, DOCUMENTS)
    assert first
    assert second
    reports = [span.fusion for span in built.trace().spans if span.fusion is not None]
    assert [report.plan for report in reports] == ["query(0.15)", "query(0.15)"]
    assert sum(report.num_encoded for report in reports) < 10  # of five each


def test_passages_that_were_encoded_ahead_are_there_for_the_first_answer() -> None:
    @tl.app
    def passages(files: list[str]) -> list[tl.Doc]:
        return tl.split(tl.load(files), chunk_tokens=200, overlap=30, tokenizer=fused_answers.llm)

    @tl.app
    def ask(question: str, docs: list[tl.Doc]) -> str:
        return fused_answers.answer(question, docs)

    docs = passages([f"{DOCUMENTS[0]}/copyright.md"])
    assert ask.encode_ahead(docs) == len(docs) > 3
    built = TraceBuilder()
    assert ask.using(listener=built)("Who owns SQLite?", docs[::-1][:3])
    (report,) = [span.fusion for span in built.trace().spans if span.fusion is not None]
    assert (report.num_chunks, report.num_encoded) == (3, 0)


def test_the_questions_name_documents_that_hold_their_answers() -> None:
    for line in (FOLDER / "data/questions.jsonl").read_text().splitlines():
        row: dict[str, Any] = json.loads(line)
        text = (FOLDER / "data/sqlite" / row["source"]).read_text().lower()
        assert row["contains"].lower() in text


def test_the_optimized_run_prefills_no_more_and_finishes_every_primitive() -> None:
    built = TraceBuilder()
    advanced_rag.rag.using(listener=built)(YEAR, DOCUMENTS)
    trace = built.trace()
    assert trace.status == "ok"
    assert all(span.has_ended for span in trace.spans)
    assert {span.op for span in trace.spans} >= {"embed", "ingest", "search", "rerank", "decode"}


def run_graph(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "from teola.cli.main import run_graph; run_graph()", *words]
    folder = FOLDER.parent
    env = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, check=False)


def test_the_command_line_prints_the_answer_alone_on_stdout(tmp_path: Path) -> None:
    trace = tmp_path / "t.jsonl"
    arguments = ["--question", YEAR, "--files", "samples/data/sqlite", "--trace", str(trace)]
    done = run_graph("samples/doc_qa.py:ask", *arguments)
    assert done.returncode == 0, done.stderr
    assert "2050" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert "critical path" in done.stderr
    assert trace.stat().st_size > 0


def test_a_prompt_longer_than_the_context_is_one_clear_message() -> None:
    words = ["--question", "word " * 9000, "--files", "samples/data/sqlite"]
    done = run_graph("samples/doc_qa.py:ask", *words)
    assert done.returncode == 1
    assert "the prompt has" in done.stderr
    assert "shorten the prompt" in done.stderr
    assert "Traceback" not in done.stderr
