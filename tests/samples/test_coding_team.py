"""The coding team: who is asked what, what they share, and that plain and optimized runs agree."""

import asyncio
from typing import Any

import pytest

import teola as tl
from benchmarks.team_calls import Client, Work, fresh_salt
from graph_opt.graph import Graph
from samples import coding_team
from samples.coding_team import Team

TASK = "a program that keeps a list of books"
FILES = '[{"name": "books.py", "purpose": "keep"}, {"name": "main.py", "purpose": "start"}]'
FIRST = "# 1. books.py\nold one\n\n# 2. main.py\nold two"
PROJECT = rf"(?s)Task: {TASK}.*It keeps books\..*1\. books\.py: keep\n2\. main\.py: start"
REPLIES = {  # each only to a prompt with all that it should have
    rf"{PROJECT}.*{FIRST}.*file 1: say more.*Write file 1 anew": "NEW ONE",
    rf"{PROJECT}.*{FIRST}.*file 2: say less.*Write file 2 anew": "NEW TWO",
    rf"{PROJECT}.*{FIRST}.*Review file 1\.": "say more",
    rf"{PROJECT}.*{FIRST}.*Review file 2\.": "say less",
    rf"{PROJECT}.*Write file 1\.": "old one",
    rf"{PROJECT}.*Write file 2\.": "old two",
    rf"(?s)Task: {TASK}.*It keeps books\..*List its files": FILES,
    rf"(?s)Task: {TASK}.*What must the program do": "It keeps books.",
}


def team_of_two(llm: tl.LLM, rounds: int = 1) -> "tl.App[[str], str]":
    return coding_team.coding_team(Team(llm, num_files=2), num_files=2, rounds=rounds)


def test_each_member_reads_what_concerns_it_and_the_last_files_are_the_program() -> None:
    llm = tl.LLM("fake:", replies=REPLIES)
    program = "# 1. books.py\nNEW ONE\n\n# 2. main.py\nNEW TWO"
    assert team_of_two(llm)(TASK) == program
    assert team_of_two(llm).using(optimize=False)(TASK) == program
    assert team_of_two(llm, rounds=0)(TASK) == FIRST


def engines(graph: Graph, op: str) -> list[str]:
    return [node.name for node in graph.nodes if node.op == op and node.attrs["engine"] == "llm"]


def test_a_stage_prefills_the_project_once() -> None:
    graph = coding_team.build.plan().after
    assert len(engines(graph, "decode")) == 2 + 4 + 4 + 4
    assert len(engines(graph, "prefill")) == 4  # the task, its needs, the design, the files
    for name in ("engineer", "reviewer"):
        heads = {graph.node(f"{name}{end}").inputs[0] for end in ("", "_2", "_3", "_4")}
        assert len(heads) == 1


def test_it_says_in_its_docstring_how_it_is_run() -> None:
    assert "run-graph samples/coding_team.py:build" in (coding_team.__doc__ or "")


@pytest.mark.model
def test_sharing_halves_what_is_prefilled_and_changes_no_program() -> None:
    team = Team(coding_team.llm, num_files=4, note_tokens=8, file_tokens=12)
    work, apart = Work(), Client(team, 4, 1, shares=False, side_by_side=True)
    app = coding_team.coding_team(team, num_files=4)
    options: dict[str, Any] = {"memo": False, "listener": work.hear, "salt": fresh_salt()}
    program = app.using(**options)(TASK)
    assert asyncio.run(apart.build(TASK)) == program
    assert work.prefilled <= 0.5 * apart.work.prefilled
    assert work.decoded == apart.work.decoded
    assert apart.work.cached == 0
    assert app.using(optimize=False, salt=fresh_salt())(TASK) == program
