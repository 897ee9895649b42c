"""Teams in teams, in apps and as tools; agents with tools in teams; approval."""

import asyncio
import json
from typing import Annotated, Any

import pytest
from pydantic import Field

import teola as tl
from runtime.events import Event
from teola.errors import ApprovalNeeded

both_ways = pytest.mark.parametrize("optimize", [True, False])


def said(*calls: tuple[str, dict[str, Any]]) -> str:
    texts = [json.dumps({"name": name, "arguments": given}) for name, given in calls]
    return "".join(f"<tool_call>{text}</tool_call>" for text in texts)


@tl.tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


llm = tl.LLM(
    "fake:",
    replies={
        r"<\|tool\|>3<\|assistant\|>$": "It is 3.",
        r"(?s)You count.*<\|assistant\|>$": said(("add", {"a": 1, "b": 2})),
        r"(?s)You plan.*<\|assistant\|>$": json.dumps(
            {"tasks": [{"id": 1, "tool": "calc", "arguments": {"task": "one and two"}}]}
        ),
        r"(?s)It is 3\..*<\|assistant\|>$": "three",
    },
)
calc = tl.Agent("calc", llm, instructions="You count.", tools=[add], description="Counts")
end = tl.Agent("end", llm, instructions="You end.")


@both_ways
def test_an_agent_with_tools_is_a_node_of_a_team_that_is_one_graph(optimize: bool) -> None:
    team = tl.teams.sequence(calc, end).using(optimize=optimize)
    assert [node.op for node in team.graph().nodes].count("call") == 1
    assert team("one and two") == "three"


@both_ways
def test_an_agent_with_tools_speaks_in_a_group_chat_and_reads_it_as_text(optimize: bool) -> None:
    team = tl.teams.group_chat(calc, end, rounds=1).using(optimize=optimize)
    assert list(map(str, team("one and two"))) == ["calc: It is 3.", "end: three"]


@both_ways
def test_an_async_team_is_a_node_of_a_team_that_is_one_graph(optimize: bool) -> None:
    planner = tl.teams.planner(llm, tools=[calc], joiner=lambda results: results[0].value)
    team = tl.teams.sequence(planner, end).using(optimize=optimize)
    assert "decode" in [node.op for node in team.graph().nodes]
    assert team("count") == "three"


def test_a_team_is_the_tool_of_an_agent() -> None:
    pair = tl.teams.sequence(calc, end, name="pair", description="Counts and ends")
    asks = tl.LLM(
        "fake:",
        replies={
            r"<\|tool\|>three<\|assistant\|>$": "The team says three.",
            r"(?s)<\|assistant\|>$": said(("pair", {"task": "one and two"})),
        },
    )
    boss = tl.Agent("boss", asks, tools=[pair])
    result = asyncio.run(boss.run("Ask them"))
    assert result.output == "The team says three."
    assert [(call.name, call.result) for call in result.calls] == [("pair", "three")]


def test_all_that_a_team_does_is_heard_and_traced(tmp_path: Any) -> None:
    events: list[Event] = []
    trace = tmp_path / "team.jsonl"
    team = tl.teams.parallel(calc, end).using(listener=events.append, trace=str(trace))
    team("one and two")
    assert {event.op for event in events} >= {"call", "decode"}
    assert "add" in trace.read_text()


def test_a_limit_of_time_holds_for_a_team() -> None:
    slow = tl.Agent("slow", tl.LLM("fake:", token_s=5.0))
    team = tl.teams.sequence(slow).using(timeout_s=0.05)
    with pytest.raises(tl.errors.QueryTimeout, match="sequence"):
        team("x")


@tl.tool(approval=True)
def publish(text: str) -> str:
    """Publish a text."""
    return f"published {text}"


def publisher() -> tl.Agent[str]:
    asks = tl.LLM(
        "fake:",
        replies={
            r"(?s)<\|tool\|>published news<\|assistant\|>$": "It is out.",
            r"(?s)<\|tool\|>not allowed.*<\|assistant\|>$": "It stays here.",
            r"(?s)<\|assistant\|>$": said(("publish", {"text": "news"})),
        },
    )
    return tl.Agent("publisher", asks, tools=[publish])


@both_ways
@pytest.mark.parametrize(("answer", "expected"), [(True, "It is out."), (False, "It stays here.")])
def test_what_a_member_asks_approval_for_is_asked_of_the_teams_approver(
    answer: bool, expected: str, optimize: bool
) -> None:
    asked: list[str] = []

    def approver(question: str, subject: Any) -> bool:
        asked.append(f"{question} {subject['text']}")
        return answer

    team = tl.teams.sequence(tl.teams.sequence(publisher(), name="inner"))
    assert team.using(approve=approver, optimize=optimize)("News") == expected
    assert asked == ["May publisher call publish? news"]


def test_a_team_without_an_approver_says_that_it_needs_one() -> None:
    with pytest.raises(ApprovalNeeded, match="May publisher call publish"):
        tl.teams.sequence(publisher())("News")


def test_a_planner_with_a_bounded_list_writes_sections() -> None:
    parts = Annotated[list[str], Field(min_length=2, max_length=2)]
    planner = tl.Agent("planner", tl.LLM("fake:", replies={"": '["a", "b"]'}), out=parts)
    assert len(tl.teams.sections(planner, end)("A book")) == 2
