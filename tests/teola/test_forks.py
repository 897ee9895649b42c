"""Processes that are forked from one that uses teola."""

import subprocess
import sys
from pathlib import Path

import pytest

APP = """
import multiprocessing, os, sys
import teola as tl

llm = tl.LLM("fake:scripted")

@tl.prompt(llm, max_tokens=8)
def say(x: str) -> str:
    return f"Say {x}"

@tl.app
def app(x: str) -> str:
    return say(x)

def work(x):
    try:
        return app(x)
    except tl.errors.ForkedProcess as error:
        return f"refused: {error}"
"""

POOL = """
if "first" in sys.argv:
    app("first")
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.map_async(work, ["a"]).get(timeout=60))
"""

BARE = """
app("first")
if (child := os.fork()) == 0:
    sys.exit(0 if work("a").startswith("refused") else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), work("b").startswith("refused"))
"""


def ran(folder: Path, text: str, *arguments: str) -> str:
    script = folder / "forks.py"
    script.write_text(APP + text)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")


def test_a_fork_of_a_process_that_ran_an_app_is_told_so_at_once(tmp_path: Path) -> None:
    assert "refused: teola ran in the process that this one was forked" in ran(
        tmp_path, POOL, "first"
    )


def test_a_fork_before_the_first_app_runs_apps(tmp_path: Path) -> None:
    assert "refused" not in ran(tmp_path, POOL)


def test_a_fork_ends_in_silence_and_its_parent_goes_on(tmp_path: Path) -> None:
    assert ran(tmp_path, BARE) == "0 False\n"
