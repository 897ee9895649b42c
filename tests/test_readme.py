"""The Python of the README runs as it stands there; on fake engines, so that it costs nothing."""

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)

AROUND_THE_AGENT = """
import teola as tl
from pydantic import BaseModel

llm = tl.LLM("local:smollm2-135m")

class Verdict(BaseModel):
    ok: bool
    fixes: str

@tl.prompt(llm)
def write(topic: str) -> str:
    return f"Write about {topic}"

@tl.prompt(llm, out=Verdict)
def judge(draft: str) -> str:
    return f"Judge: {draft}"

@tl.prompt(llm)
def improve(draft: str, fixes: str) -> str:
    return f"Improve {draft}: {fixes}"
"""

Run = Callable[[str], ModuleType]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a program with every local engine replaced by a fake one, beside a folder `docs`."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "history.md").write_text("Ada Lovelace designed the first program.")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "readme", None)  # type: ignore[arg-type]  # taken out after

    def run_text(text: str) -> ModuleType:
        path = tmp_path / "readme.py"
        path.write_text(re.sub(r'"local:[^"]*"', '"fake:"', text))
        spec = importlib.util.spec_from_file_location("readme", path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules["readme"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return run_text


def block(text: str) -> str:
    """The one with this text in it."""
    (found,) = [block for block in BLOCKS if text in block]
    return found


def test_the_app_answers_and_says_the_same_when_run_as_written(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    module = run(block("def rag("))
    printed = capsys.readouterr().out.strip()
    assert printed.startswith("reply ")
    assert module.rag.using(optimize=False)("Who designed it?", ["docs/"]) == printed


def test_the_agent_runs_as_many_rounds_as_it_is_given(run: Run) -> None:
    module = run(AROUND_THE_AGENT + block("async def agent("))
    assert module.agent("ships", rounds=1) != module.agent("ships", rounds=2)


def test_documents_are_indexed_by_one_app_and_found_by_another(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    module = run(block("store.search("))
    printed = capsys.readouterr().out.strip()
    assert "Ada Lovelace designed" in printed
    assert printed.endswith(" 1")
    assert module.find("Who designed it?", "biology") == []


def test_a_program_and_a_team_answer(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    module = run(block("@tl.program"))
    printed = capsys.readouterr().out
    assert printed.split()[0] in ("yes", "no")
    assert module.desk.graph().name == module.desk.name
    assert module.desk("Compare Rome and Oslo.") in printed
