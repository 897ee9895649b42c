"""Teams on the default model: the same answers optimized and plain, and tokens read once."""

from typing import Annotated, Any

import pytest
from pydantic import Field

import teola as tl
from runtime.events import Event

pytestmark = pytest.mark.model

llm = tl.LLM("local:smollm2-135m")
SHORT: Any = {"max_tokens": 8, "stop": "\n"}
ann = tl.Agent("ann", llm, instructions="You like tea.", **SHORT)
bob = tl.Agent("bob", llm, instructions="You like coffee.", **SHORT)
jo = tl.Agent("jo", llm, instructions="You like water.", **SHORT)
judge = tl.Agent("judge", llm, instructions="Say whether it is good.", out=tl.teams.Verdict)

Part = Annotated[str, Field(max_length=16)]
Parts = Annotated[list[Part], Field(min_length=2, max_length=2)]
outliner = tl.Agent("outliner", llm, instructions="Name two parts.", out=Parts)


@tl.tool(pure=True)
def length(text: Part) -> int:
    """How long a text is."""
    return len(text)


@tl.tool(pure=True)
def shown(results: list[tl.teams.TaskResult]) -> str:
    return "\n".join(map(str, results))


worker = tl.Agent(
    "worker",
    llm,
    tools=[length],
    tool_choice="length",
    max_turns=2,
    on_limit="answer",
    max_tokens=64,
)


def run(team: Any, task: str) -> tuple[Any, list[Event]]:
    events: list[Event] = []
    result = team.using(listener=events.append, memo=False)(task)
    return result, events


def prefilled(events: list[Event]) -> list[int]:
    ends = [event.fields for event in events if event.kind == "end"]
    return [fields["prefill_tokens"] for fields in ends if "prefill_tokens" in fields]


@pytest.mark.parametrize(
    "team",
    [
        tl.teams.sequence(ann, bob),
        tl.teams.parallel(ann, bob, merge=jo),
        tl.teams.router(llm, {"tea": ann, "coffee": bob}),
        tl.teams.critic(ann, judge, rounds=2),
        tl.teams.sections(outliner, ann),
        tl.teams.sequence(worker, ann, name="with_tools"),
        tl.teams.group_chat(ann, bob, rounds=2),
        tl.teams.debate(ann, bob, judge=jo, rounds=1),
    ],
    ids=lambda team: team.name,
)
def test_a_team_of_one_graph_answers_alike_optimized_and_plain(team: Any) -> None:
    optimized, _ = run(team, "What is the best drink?")
    plain, _ = run(team.using(optimize=False), "What is the best drink?")
    assert optimized == plain


@pytest.mark.parametrize(
    "team",
    [
        tl.teams.group_chat(ann, bob, jo, rounds=1, speaker="model", llm=llm),
        tl.teams.planner(llm, tools=[length, ann], joiner=shown, max_tasks=2, max_tokens=200),
        tl.teams.handoffs(worker, ann, max_handoffs=1),
    ],
    ids=lambda team: team.name,
)
def test_an_async_team_answers_alike_optimized_and_plain(team: Any) -> None:
    optimized, _ = run(team, "What is the best drink?")
    plain, _ = run(team.using(optimize=False), "What is the best drink?")
    assert optimized == plain
    assert len(optimized) > 0


def test_a_plan_of_the_default_model_keeps_to_its_schema() -> None:
    team = tl.teams.planner(llm, tools=[length], joiner=shown, max_tasks=2, max_tokens=200)
    said, events = run(team, "How long is the word tea?")
    assert said.startswith('1. length({"text": ')
    assert "call" in {event.op for event in events}


@pytest.mark.parametrize("optimize", [True, False])
def test_speakers_do_not_read_the_transcript_again(optimize: bool) -> None:
    task = "Drinks are good. " * 100  # 500 tokens with all around
    unlike = f"{optimize} {task}"  # not in the prefix cache of the other run
    team = tl.teams.group_chat(ann, bob, jo, rounds=2).using(optimize=optimize)
    lines, events = run(team, unlike)
    counts = prefilled(events)
    assert len(lines) == 6
    assert sum(count > 300 for count in counts) == 1
    assert sum(counts) - max(counts) < 6 * (32 + 16)  # a speaker's own words, and what it says
