"""What the Makefile's demo runs, on fake engines."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backends.models.fetch import CATALOG
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


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_the_tests_run_also_where_vllm_cannot_be_installed(tmp_path: Path) -> None:
    bin_folder = tmp_path / "venv" / "bin"
    bin_folder.mkdir(parents=True)
    calls = tmp_path / "calls"
    for name in ("python", "teola"):
        program = bin_folder / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >>{calls}\n[ "$1" != engine ]\n')
        program.chmod(0o755)
    words = ["make", f"VENV={tmp_path / 'venv'}", "test"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *_, install, tests = calls.read_text().splitlines()
    assert install == "teola engine install vllm --cpu"
    assert tests == "python -m pytest"


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_vllm_is_installed_by_the_projects_own_command() -> None:
    assert [Path(commands_of("vllm")[-1][0]).name, *commands_of("vllm")[-1][1:]] == [
        *("teola", "engine", "install", "vllm", "--cpu")
    ]


def make_browser(tmp_path: Path, *, user: int, apt_code: int) -> tuple[str, list[str]]:
    """What it says, and the calls of apt-get, where no browser is on the path."""
    calls = tmp_path / "calls"
    calls.touch()
    programs = {"id": f"echo {user}", "apt-get": f"echo $@ >>{calls}; exit {apt_code}"}
    for name, does in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [str(shutil.which("make")), "--no-print-directory", "browser", "SHELL=/bin/sh"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), calls.read_text().splitlines()


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_a_browser_is_installed_by_root_only(tmp_path: Path) -> None:
    said, calls = make_browser(tmp_path, user=1000, apt_code=0)
    assert "no Chromium here" in said
    assert calls == []

    said, calls = make_browser(tmp_path, user=0, apt_code=0)
    assert [call.split()[0] for call in calls] == ["update", "install"]
    assert "chromium-headless-shell" in calls[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_the_tests_run_also_where_no_browser_can_be_installed(tmp_path: Path) -> None:
    said, _ = make_browser(tmp_path, user=0, apt_code=1)
    assert "tests of the trace page are skipped" in said
