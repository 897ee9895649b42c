"""What the Makefile's demo runs, on fake engines."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backends.models import CATALOG
from samples import advanced_rag

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def commands_of(verb: str) -> list[list[str]]:
    """The commands that make would run, as if nothing had been made."""
    done = subprocess.run(
        ["make", "--always-make", "--dry-run", "--no-print-directory", verb, "QUESTION=What?"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [shlex.split(line) for line in done.stdout.replace("\\\n", " ").splitlines()]


def run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONWARNINGS": "error"}
    words = [str(BIN / Path(command[0]).name), *command[1:]]
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_the_demo_answers_a_question_and_shows_the_trace(tmp_path: Path) -> None:
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    *_, fetch, ask, trace = commands_of("demo")
    assert [Path(fetch[0]).name, *fetch[1:3]] == ["teola", "models", "fetch"]
    assert set(fetch[3:]) <= set(CATALOG)
    nodes = advanced_rag.rag.graph().nodes
    names = {str(node.attrs["engine"]) for node in nodes if "engine" in node.attrs}
    engines = [f"--engine={name}=fake:" for name in sorted(names)]
    assert run([*ask, *engines], tmp_path).startswith("reply ")
    assert "critical path" in run(trace, tmp_path)
