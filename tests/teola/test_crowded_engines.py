"""Runs of `async def` apps, agents and teams are refused while too much waits at their engines."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import teola as tl
from teola.errors import EngineOverloaded
from teola.virtual import on_virtual_clock

slow = {"latency_s": 1.0, "num_slots": 1, "max_batch_items": 1}
llm = tl.LLM("fake:", **slow, max_waiting=2)
quiet = tl.LLM("fake:", name="quiet", latency_s=1.0, max_waiting=3)


@tl.prompt(llm)
def say(text: str) -> str:
    return f"Say {text}"


@tl.prompt(quiet)
def whisper(text: str) -> str:
    return f"Whisper {text}"


@tl.app
async def twice(text: str) -> str:
    return await tl.value(say(await tl.value(say(text))))


@tl.app
async def aside(text: str) -> str:
    return await tl.value(whisper(text))


@tl.tool
def look(word: str) -> str:
    """Look a word up."""
    return word


clerk = tl.Agent("clerk", llm, tools=[look])
helper = tl.Agent("helper", llm)
team = tl.teams.sequence(clerk, helper, name="team")


async def crowd() -> list[Any]:
    """Five runs, one behind the other, of an app that has two requests."""
    return await asyncio.gather(*(outcome(twice, f"{i}", 0.01 * i) for i in range(5)))


async def outcome(app: Any, text: str, after_s: float = 0.0) -> Any:
    await asyncio.sleep(after_s)
    try:
        return await app.using(memo=False).arun(text)
    except Exception as error:
        return error


def crowded(run: Callable[[], Awaitable[Any]]) -> Any:
    """What a run gives that begins while two requests wait."""

    async def main() -> Any:
        runs = asyncio.create_task(crowd())
        await asyncio.sleep(0.5)
        found = await run()
        assert sum(isinstance(each, str) for each in await runs) == 3
        return found

    return on_virtual_clock(main)


def test_an_async_app_is_refused_behind_too_many_requests_and_those_inside_end() -> None:
    outcomes = on_virtual_clock(crowd)
    assert [type(each) for each in outcomes] == [str, str, str, EngineOverloaded, EngineOverloaded]
    assert "2 requests wait at engine 'llm'" in str(outcomes[3])
    assert outcomes[3].retry_after_s == 1.0


@pytest.mark.parametrize("app", [clerk, helper, team], ids=lambda app: app.name)
def test_so_are_agents_and_teams(app: Any) -> None:
    assert isinstance(crowded(lambda: outcome(app, "x")), EngineOverloaded)


def test_an_app_with_another_engine_is_let_in() -> None:
    assert isinstance(crowded(lambda: outcome(aside, "x")), str)
    elsewhere = twice.using(engines={"llm": "fake:"})
    assert isinstance(crowded(lambda: outcome(elsewhere, "x")), str)


@tl.app
async def pair(text: str) -> list[str]:
    return await asyncio.gather(tl.value(say(f"{text} a")), tl.value(say(f"{text} b")))


def test_a_batch_refuses_none_of_its_own_runs() -> None:
    async def main() -> list[Any]:
        return await pair.using(memo=False).abatch([f"{i}" for i in range(9)], concurrency=3)

    assert [type(each) for each in on_virtual_clock(main)] == [list] * 9
