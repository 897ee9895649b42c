"""Teams on the command line: they run as apps do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Teola = Callable[..., Any]

TEAM = """
import teola as tl

llm = tl.LLM("fake:", replies={"One.*Two": "both", "": "hello"})
one = tl.Agent("one", llm, instructions="One.")
two = tl.Agent("two", llm, instructions="Two.")
greet = tl.teams.sequence(one, two, name="greet", description="Greets twice.")
talk = tl.teams.group_chat(one, two, rounds=1, speaker="model", llm=llm)
"""


def test_a_team_runs_by_its_name_in_the_module(teola: Teola, tmp_path: Path) -> None:
    (tmp_path / "team.py").write_text(TEAM)
    done = teola("run", "team.py:greet", "--task", "hi", "--quiet")
    assert (done.code, done.out) == (0, "hello\n")


def test_an_async_team_runs_too_and_its_engine_is_replaced_by_name(
    teola: Teola, tmp_path: Path
) -> None:
    (tmp_path / "team.py").write_text(TEAM)
    done = teola("run", "team.py:talk", "--task", "hi", "--quiet", "--engine", "llm=fake:")
    assert done.code == 0, done.err
    assert "reply" in done.out


def test_the_graph_of_a_team_is_shown(teola: Teola, tmp_path: Path) -> None:
    (tmp_path / "team.py").write_text(TEAM)
    done = teola("graph", "team.py:greet")
    assert done.code == 0, done.err
    assert "decode" in done.out


def test_the_help_of_a_team_says_what_it_is_for(teola: Teola, tmp_path: Path) -> None:
    (tmp_path / "team.py").write_text(TEAM)
    done = teola("run", "team.py:greet", "--help")
    assert "Greets twice." in done.out
    assert "--task" in done.out
