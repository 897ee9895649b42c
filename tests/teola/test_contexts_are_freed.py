"""However a query ends, its contexts are freed, and the pages of the pool are where they belong."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import teola as tl
from backends.emulated.llm import EmulatedLLM
from teola.errors import NodeFailed, QueryTimeout
from teola.runner import default_runner
from teola.virtual import on_virtual_clock

llm = tl.LLM("emulated:h100/llama-3.1-8b", output_tokens=40, kv_tokens=1600, context_len=1024)
NOTES = " ".join(f"Fact {number} is known." for number in range(60))


@tl.tool(pure=True)
def agrees(verdict: str, is_question: bool) -> bool:
    return bool(verdict) and is_question


@tl.prompt(llm, max_tokens=40)
def judge(text: str) -> str:
    return f"{text}? {NOTES} Is this a question?"


@tl.prompt(llm, max_tokens=40)
def answer(text: str) -> str:
    return f"{text}: {NOTES} Answer it."


@tl.app
def ask(text: str, is_question: bool) -> str:
    is_right = agrees(judge(text), is_question)
    return tl.cond(is_right, lambda: answer(text), lambda: judge(f"not {text}"))


@tl.tool(pure=False)
async def look(text: str) -> str:
    await asyncio.sleep(2.0)
    if "broken" in text:
        raise RuntimeError("the tool is broken")
    return text[:20]


@tl.app
async def agent(name: str, num_turns: int) -> str:
    chat = tl.Chat(llm, system=f"You are {name}. {NOTES}")
    said = name
    for number in range(num_turns):
        await chat.ask(said)
        is_last = number == num_turns - 1
        said = await tl.value(look("broken" if is_last and name == "Bob" else name))
    return said


def core_after(run: Callable[[], Awaitable[Any]]) -> dict[str, int]:
    """Stats of the engine after a run, whose books are in order."""

    async def main() -> dict[str, int]:
        await run()
        await asyncio.sleep(1.0)  # of the virtual clock
        (engine,) = [e for _, e in default_runner().engines if isinstance(e, EmulatedLLM)]
        core: Any = engine._core
        core.check_integrity()
        assert not core.live.groups
        stats = core.cache_stats()
        core.flush()
        core.check_integrity()
        return {
            "idle": stats.idle_contexts,
            "lost": core.cache.pool.num_pages - core.cache.pool.num_free,
        }

    return on_virtual_clock(main)


FREED = {"idle": 0, "lost": 0}


def test_wrong_guesses_leave_nothing() -> None:
    async def run() -> None:
        app = ask.using(memo=False, speculate=0.5)
        for number in range(8):
            await app.arun(f"why {number}", number not in (5, 7))

    assert core_after(run) == FREED


@pytest.mark.parametrize("after_s", [0.01, 0.1, 0.3, 1.0, 2.5, 3.0])
def test_cancelled_queries_leave_nothing(after_s: float) -> None:
    async def run() -> None:
        names = ("Ann", "Cid", "Dee", "Eve", "Fay")
        chats = [asyncio.ensure_future(agent.arun(name, 3)) for name in names]
        guessing = asyncio.ensure_future(ask.using(memo=False).arun("why", True))
        await asyncio.sleep(after_s)
        for task in (*chats, guessing):
            task.cancel()
        await asyncio.gather(*chats, guessing, return_exceptions=True)

    assert core_after(run) == FREED


@pytest.mark.parametrize("limit_s", [0.05, 0.5, 2.2])
def test_queries_out_of_time_leave_nothing(limit_s: float) -> None:
    async def run() -> None:
        names = ("Ann", "Cid", "Dee", "Eve")
        chats = [agent.using(timeout_s=limit_s).arun(name, 4) for name in names]
        for error in await asyncio.gather(*chats, return_exceptions=True):
            assert isinstance(error, QueryTimeout)

    assert core_after(run) == FREED


def test_failed_queries_leave_nothing() -> None:
    async def run() -> None:
        names = ("Ann", "Bob", "Cid", "Dee")
        found = await asyncio.gather(
            *(agent.arun(name, 3) for name in names), return_exceptions=True
        )
        assert [type(each) for each in found] == [str, NodeFailed, str, str]

    assert core_after(run) == FREED
