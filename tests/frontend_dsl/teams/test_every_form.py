"""What holds for every form: it is an app, wherever it is called, optimized and plain."""

import asyncio
import inspect
import json
from typing import Any

import pytest
from pydantic import BaseModel

import teola as tl

llm = tl.LLM("fake:")
plans = tl.LLM(
    "fake:",
    name="plans",
    replies={"": json.dumps({"tasks": [{"id": 1, "tool": "twice", "arguments": {"text": "a"}}]})},
)
ann = tl.Agent("ann", llm, instructions="You are Ann.")
bob = tl.Agent("bob", llm, instructions="You are Bob.")
judge = tl.Agent("judge", llm, out=tl.teams.Verdict)
lister = tl.Agent("lister", llm, out=list[str])


def twice(text: str) -> str:
    return text * 2


def value_of(results: list[tl.teams.TaskResult]) -> Any:
    return results[0].value


STATIC: list[Any] = [
    tl.teams.sequence(ann, bob),
    tl.teams.parallel(ann, bob),
    tl.teams.critic(ann, judge),
    tl.teams.sections(lister, ann),
    tl.teams.router(llm, {"a": ann, "b": bob}),
    tl.teams.group_chat(ann, bob, rounds=1),
    tl.teams.debate(ann, bob, judge=judge, rounds=1),
]
ASYNC: list[Any] = [
    tl.teams.group_chat(ann, bob, judge, rounds=1, speaker="model", llm=llm, name="chosen"),
    tl.teams.planner(plans, tools=[twice], joiner=value_of),
    tl.teams.handoffs(ann, bob),
]
every_form = pytest.mark.parametrize("team", [*STATIC, *ASYNC], ids=lambda team: team.name)
both_ways = pytest.mark.parametrize("optimize", [True, False])


class Mood(BaseModel):
    happy: bool = True


@every_form
def test_it_answers_alike_optimized_and_plain(team: Any) -> None:
    assert team("Hello", mood="x") == team.using(optimize=False)("Hello", mood="x")


@pytest.mark.parametrize("team", STATIC, ids=lambda team: team.name)
def test_a_form_that_is_known_is_one_graph_that_the_optimizer_takes(team: Any) -> None:
    assert " = decode " in str(team.graph())
    assert "after:" in team.explain()


@every_form
@both_ways
def test_it_runs_in_apps_and_in_their_bodies(team: Any, optimize: bool) -> None:
    expected = team("Hello", mood="x")

    @tl.app
    def mapped(texts: list[str]) -> list[Any]:
        return tl.map(lambda text: team(text, mood="x"), texts)

    @tl.app
    def conditional(text: str) -> Any:
        return tl.cond(is_text(text), lambda: team(text, mood="x"), lambda: team("no"))

    @tl.app
    async def awaited(text: str) -> Any:
        given = team(text, mood="x")
        return await given if inspect.isawaitable(given) else await tl.value(given)

    assert mapped.using(optimize=optimize)(["Hello", "Bye"])[0] == expected
    assert conditional.using(optimize=optimize)("Hello") == expected
    assert awaited.using(optimize=optimize)("Hello") == expected


@tl.tool(pure=True)
def is_text(text: str) -> bool:
    return bool(text)


@every_form
def test_real_models_and_lists_are_context_too(team: Any) -> None:
    @tl.app
    async def app(text: str) -> Any:
        given = team(text, Mood(), notes=["a", "b"])
        return await given if inspect.isawaitable(given) else await tl.value(given)

    assert app("Hello") == team("Hello", Mood(), notes=["a", "b"])


@every_form
def test_it_is_awaited_streamed_and_runs_in_batches(team: Any) -> None:
    expected = team("Hello")
    assert asyncio.run(team.arun("Hello")) == expected
    *_, last = team.stream("Hello")
    assert (last.kind, last.fields["result"]) == ("done", expected)
    assert team.batch(["Hello", {"task": "Hello"}, "Bye"])[:2] == [expected, expected]


@every_form
def test_no_context_of_a_model_is_left_behind(team: Any) -> None:
    from teola.runner import default_runner

    team("Hello")
    runner: Any = default_runner()
    engine = runner._runtime.scheduler("llm", llm.spec).engine
    assert engine.num_live_contexts == 0
