"""The samples of teams: each runs without arguments, optimized and plain alike."""

import pytest

import teola as tl
from runtime.events import Event
from samples import debate, planner


@pytest.mark.model
def test_a_debate_is_decided_alike_optimized_and_plain() -> None:
    ruling = debate.debate()
    assert ruling.winner in ("ann", "bob")
    assert debate.debate.using(optimize=False)() == ruling


def test_a_debate_is_one_graph_with_one_transcript() -> None:
    graph = debate.debate.graph()
    assert [node.op for node in graph.nodes].count("context") == 1
    assert [node.op for node in graph.nodes].count("decode") == 5


@pytest.mark.model
def test_the_planner_looks_up_and_divides() -> None:
    events: list[Event] = []
    said = planner.answer.using(listener=events.append)()
    assert "1. people(" in said
    assert said == planner.answer.using(optimize=False)()
    assert {event.op for event in events} >= {"decode", "call"}


def test_the_planners_tools_know_their_countries() -> None:
    plan = (
        '{"tasks": [{"id": 1, "tool": "people", "arguments": {"country": "Norway"}},'
        ' {"id": 2, "tool": "area", "arguments": {"country": "Norway"}},'
        ' {"id": 3, "tool": "divide", "arguments": {"number": "$1", "by": "$2"}}]}'
    )
    scripted = tl.LLM("fake:", replies={"": plan})
    team = tl.teams.planner(scripted, tools=planner.TOOLS, joiner=planner.listed)
    assert team("Norway").endswith(": 14.2")
