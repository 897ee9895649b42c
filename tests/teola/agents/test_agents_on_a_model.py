"""Agents on the embedded engine: what each turn computes, and that calls are well-formed."""

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

import teola as tl
from frontend_dsl.agents.loop import Loop
from runtime.events import Event
from teola.errors import AnswerNotValid

pytestmark = pytest.mark.model

llm = tl.LLM("local:smollm2-135m", kv_tokens=4096)


@tl.tool(pure=True)
def weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: its name
    """
    return f"Sunny in {city}, 21 degrees."


class Report(BaseModel):
    degrees: int


def test_a_turn_reads_only_what_is_new_and_keeps_the_tokens_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    contexts: list[Any] = []
    heard: list[Event] = []
    turn = Loop._turn

    async def kept(self: Loop, *args: Any) -> Any:
        said = await turn(self, *args)
        context: Any = self._talk.context
        contexts.append(context._pending.real)
        return said

    monkeypatch.setattr(Loop, "_turn", kept)
    guide = tl.Agent(
        "guide",
        llm,
        instructions="Help the user.",
        tools=[weather],
        tool_choice="required",
        max_tokens=40,
    )
    alone = guide.using(listener=heard.append, memo=False)
    result = asyncio.run(alone.run("What is the weather in Rome?"))

    assert all(made.name == "weather" and not made.failed for made in result.calls)
    assert result.calls
    first, second = contexts[:2]
    assert second.ids[: len(first.ids)] == first.ids  # not one token is read or written anew
    reads = [_prefilled(heard, query) for query in _queries_with(heard, "guide.turn")]
    assert reads[0] > 150  # the tools are described
    assert reads[1] < 30 * (1 + len(result.calls))  # the results of the calls, and the markup
    written = _counts(heard, "guide.turn", "decode_tokens")[1]
    new = len(second.ids) - len(first.ids)
    forced = 20  # what the grammar forced at the end of a turn is computed with the next
    assert new - 2 <= reads[1] + written <= new + forced
    assert not any(context._finalizer.alive for context in contexts)  # all are given back


def test_a_typed_answer_comes_after_a_call_that_was_asked_for() -> None:
    typed = tl.Agent(
        "typed", llm, tools=[weather], out=Report, tool_choice="weather", max_tokens=40
    )
    result = asyncio.run(typed.run("What is the weather in Rome?"))
    assert isinstance(result.output, Report)
    assert [made.name for made in result.calls][:1] == ["weather"]


def test_an_agent_of_one_prompt_answers_the_same_plain_and_optimised() -> None:
    writer = tl.Agent("writer", llm, instructions="Answer in one word.", max_tokens=6)
    alone = writer.using(memo=False)
    assert alone("A colour?") == alone.using(optimize=False)("A colour?")


def test_an_agent_with_tools_answers_the_same_plain_and_optimised() -> None:
    guide = tl.Agent("guide", llm, tools=[weather], tool_choice="weather", max_tokens=24)
    alone = guide.using(memo=False)
    task = "What is the weather in Rome?"
    assert alone(task) == alone.using(optimize=False)(task)


def _queries_with(events: list[Event], node: str) -> list[str]:
    return list(dict.fromkeys(e.query for e in events if e.node == node and e.kind == "end"))


def _prefilled(events: list[Event], query: str) -> int:
    ends = [event for event in events if event.kind == "end" and event.query == query]
    return sum(event.fields["prefill_tokens"] for event in ends)


def _counts(events: list[Event], node: str, field: str) -> list[int]:
    return [e.fields[field] for e in events if e.kind == "end" and e.node == node]


class Stop(BaseModel):
    city: str
    then: "Stop | None" = None


@tl.tool(pure=True)
def travel(route: Stop, nights: int = 1) -> str:
    """Plan a journey."""
    return f"{route.city} for {nights}"


def test_an_engine_without_tools_writes_turns_that_fit_their_schema(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tl.Agent, "_is_native", lambda *_: False)
    patient = tl.Agent(
        "planner",
        llm,
        tools=[weather, travel],
        tool_choice="travel",
        max_turns=1,
        max_tokens=200,
        on_limit="answer",
    )
    result = asyncio.run(patient.run("Go to Rome for 2 nights."))
    assert result.stopped_by == "turns"
    assert {made.name for made in result.calls} == {"travel"}
    assert not [made for made in result.calls if made.result.startswith("the arguments are no")]


def test_a_pure_call_begins_before_the_model_has_ended_its_turn() -> None:
    heard: list[Event] = []
    guide = tl.Agent(
        "guide", llm, tools=[weather], tool_choice="required", max_turns=1, on_limit="answer"
    )
    alone = guide.using(listener=heard.append, memo=False)
    result = asyncio.run(alone.run("What is the weather in Rome, Oslo and Paris?"))
    assert result.calls
    begun = next(e.t for e in heard if e.kind == "start" and e.node == "weather")
    ended = next(e.t for e in heard if e.kind == "end" and e.node == "guide.turn")
    assert begun < ended


def test_a_call_that_max_tokens_cuts_is_no_answer() -> None:
    short = tl.Agent("short", llm, tools=[weather], tool_choice="required", max_tokens=8)
    with pytest.raises(AnswerNotValid, match="max_tokens=8 cut the call that it had to make"):
        short("What is the weather in Rome?")
