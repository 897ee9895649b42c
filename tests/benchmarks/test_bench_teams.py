"""The benchmark of teams: its ways make the same calls, and its figures are what they say."""

import asyncio

import pytest

import teola as tl
from benchmarks.bench_teams import EMULATED, Series, Setting, bench, row_of
from benchmarks.team_calls import Client, Work
from samples.coding_team import Team, coding_team

TASK = "a program that keeps a list of books"
FILES = '[{"name": "books.py", "purpose": "keep"}, {"name": "main.py", "purpose": "start"}]'


def scripted_team() -> Team:
    """Answers to all but the design are made from the whole prompt."""
    return Team(tl.LLM("fake:", replies={"List its files": FILES}), num_files=2)


@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize("side_by_side", [True, False])
def test_a_client_writes_the_program_that_the_app_writes(shares: bool, side_by_side: bool) -> None:
    team = scripted_team()
    client = Client(team, 2, 2, shares, side_by_side)
    assert asyncio.run(client.build(TASK)) == coding_team(team, 2, rounds=2)(TASK)


def test_ratios_are_of_runs_that_stood_side_by_side() -> None:
    teola = Series([1.0, 4.0], ["p", "p"], [Work(10, 0, 7)] * 2)
    apart = Series([2.0, 12.0], ["p", "q"], [Work(40, 0, 7)] * 2)
    row = row_of({"teola": teola, "apart": apart})
    assert row["speedup_over_apart"] == 2.5
    assert row["prefilled_to_apart"] == 0.25
    assert not row["programs_equal"]


@pytest.mark.model  # for the tokenizer of the emulated engine
def test_on_an_emulated_engine_sharing_halves_what_is_prefilled_and_is_no_slower() -> None:
    setting = Setting(EMULATED, note_tokens=8, file_tokens=32, rounds=1)
    row = bench(setting, 4, repeats=1, ways=("teola", "apart", "client", "loop"))
    assert row["programs_equal"]
    assert row["prefilled_to_apart"] <= 0.5
    assert row["prefilled_to_client"] <= 1
    assert row["speedup_over_apart"] > 1
    assert row["speedup_over_loop"] > 2
