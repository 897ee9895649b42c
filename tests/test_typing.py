"""What type checkers see of a user's app: the declared types, under mypy --strict and pyright."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

USER = """
from typing import Literal
import teola as tl
from pydantic import BaseModel

llm = tl.LLM("fake:")
store = tl.Store("fake:", embedder=tl.Embedder("fake:"))

class Queries(BaseModel):
    queries: list[str]

@tl.prompt(llm, out=Queries)
def expand(question: str, n: int) -> str:
    return f"Write {n} queries for {question}"

@tl.prompt(llm, out=Literal["yes", "no"])
def judge(text: str) -> str:
    return f"Judge {text}"

@tl.prompt(llm)
def answer(question: str, docs: list[tl.Doc]) -> str:
    return f"{tl.join(docs)} {question}"

@tl.tool
async def fetch(url: str) -> str:
    return url

@tl.app
def rag(question: str, n: int = 3) -> str:
    hits = tl.map(lambda q: store.search(q), expand(question, n).queries)
    reveal_type(expand(question, n))
    reveal_type(hits)
    reveal_type(fetch(question))
    reveal_type(tl.map(fetch, [question], on_error="keep"))
    reveal_type(tl.attempt(lambda: n, "none"))
    reveal_type(tl.attempt(lambda: n, lambda error: f"{error}"))
    reveal_type(tl.first(lambda: n, lambda: n + 1))
    return answer(question, tl.flatten(hits))

@tl.app(timeout_s=3.0)
async def agent(topic: str) -> list[str]:
    found = await tl.value(expand(topic, 2))
    return found.queries

class Bot:
    @tl.app
    def hello(self, name: str) -> str:
        return answer(name, [])

    @tl.app
    async def ahello(self, name: str) -> int:
        return len(name)

async def listen() -> None:
    async for event in rag.astream("x"):
        reveal_type(event.kind)
    reveal_type(await Bot().ahello.arun("x"))

reveal_type(Bot().hello("x"))
reveal_type(rag("x"))
reveal_type(agent("x"))
reveal_type(rag.batch([{"question": "x"}]))
rag.graph()
rag(question=3)  # wrong
"""

EXPECTED = [
    'Revealed type is "user.Queries"',
    'Revealed type is "list[list[backends.documents.Doc]]"',
    'Revealed type is "str"',
    'Revealed type is "list[str | Exception]"',
    'Revealed type is "int | str"',
    'Revealed type is "int | str"',
    'Revealed type is "int"',
    'Revealed type is "str"',
    'Revealed type is "int"',
    'Revealed type is "str"',
    'Revealed type is "str"',
    'Revealed type is "list[str]"',
    'Revealed type is "list[str | Exception]"',
    'incompatible type "int"; expected "str"',
]


def test_an_apps_types_are_the_declared_ones(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)
    root = str(Path(__file__).parent.parent)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "user.py"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env={"MYPYPATH": root}
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("user.py")]
    assert len(lines) == len(EXPECTED), done.stdout
    for line, expected in zip(lines, EXPECTED, strict=True):
        assert expected in line


CHECKERS = {
    "mypy": ["mypy", "--strict", "samples", "tests/typing"],
    "pyright": ["basedpyright"],  # what it checks stands in pyproject.toml
}


@pytest.mark.parametrize("checker", CHECKERS)
def test_samples_and_users_files_have_no_errors(checker: str) -> None:
    command = [sys.executable, "-m", *CHECKERS[checker]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_pyright_sees_a_wrong_call_in_a_users_file(tmp_path: Path) -> None:
    wrong = (ROOT / "tests/typing/apps.py").read_text() + "\nrag(question=3)\n"
    (tmp_path / "apps.py").write_text(wrong)
    command = [sys.executable, "-m", "basedpyright", "--level", "error", str(tmp_path / "apps.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    assert '"question"' in done.stdout
    assert "1 error" in done.stdout
