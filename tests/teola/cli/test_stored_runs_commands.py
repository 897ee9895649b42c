"""`run --runs`, `runs`, `resume` and `approve`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from teola.runner import AppRunner, chosen_runner

APP = """
import pathlib
import teola as tl

@tl.tool
def send(text: str) -> str:
    with open("sent.txt", "a") as file:
        file.write(text + "\\n")
    if not pathlib.Path("ready").exists() and text == "second":
        raise ValueError("not ready")
    return text

@tl.app
async def both(name: str = "you", *, num: int = 2) -> str:
    first = await tl.value(send("first"))
    return f"{first}, {await tl.value(send('second'))} for {name}"
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "kept.py").write_text(APP)
    runner = AppRunner()
    with chosen_runner(runner):
        yield
        runner.close()


def listed(teola: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(teola("runs", "--runs", "r", "--json").out)
    return found


def test_a_run_is_kept_shown_and_resumed(teola: Any, tmp_path: Path) -> None:
    done = teola("run", "kept.py", "--name", "ann", "--runs", "r")
    assert done.code == 1
    (run,) = listed(teola)
    assert f"teola resume {run['id']} --runs r" in done.err
    assert (run["state"], run["app"], run["done"]) == ("failed", "both", 1)
    table = teola("runs", "--runs", "r").out
    assert run["id"] in table
    assert "not ready" in table
    shown = teola("runs", run["id"], "--runs", "r").out
    assert "%0.send" in shown
    (tmp_path / "ready").touch()
    again = teola("resume", run["id"], "--runs", "r", "--quiet")
    assert (again.code, again.out) == (0, "first, second for ann\n"), again.err
    assert (tmp_path / "sent.txt").read_text() == "first\nsecond\nsecond\n"
    as_json = json.loads(teola("resume", run["id"], "--runs", "r", "--json").out)
    assert as_json["result"] == "first, second for ann"


def test_runs_are_deleted_and_pruned(teola: Any, tmp_path: Path) -> None:
    teola("run", "kept.py", "--runs", "r")
    (tmp_path / "ready").touch()
    teola("run", "kept.py", "--runs", "r")
    assert [run["state"] for run in listed(teola)] == ["finished", "failed"]
    assert "forgot 0 runs" in teola("runs", "--runs", "r", "--prune", "1").out
    assert "forgot 1 run of" in teola("runs", "--runs", "r", "--prune", "0").out
    (left,) = listed(teola)
    assert teola("runs", left["id"], "--runs", "r", "--delete").code == 0
    assert teola("runs", "--runs", "r").out.rstrip().endswith("keeps no runs")


def test_wrong_words_are_said(teola: Any) -> None:
    assert "there is no run 'xyz'" in teola("resume", "xyz", "--runs", "r").err
    assert "there is no run 'xyz'" in teola("approve", "xyz", "--runs", "r").err
    assert "--delete needs the ID" in teola("runs", "--runs", "r", "--delete").err
    assert "--in-doubt is stop, retry, skip" in teola("resume", "x", "--in-doubt", "no").err
