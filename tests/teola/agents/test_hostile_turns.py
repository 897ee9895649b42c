"""What goes wrong around an agent, and what is written to mislead it."""

import asyncio
import io
import json
import threading
from contextlib import suppress
from typing import Any

import pytest

import teola as tl
from frontend_dsl.agents.approval import ask_at_terminal
from frontend_dsl.agents.calling import Calling
from frontend_dsl.agents.turn_reader import Call

WITHOUT_TOOLS = {"prefill", "fork", "structured", "seed", "stream", "abort"}
CALL = json.dumps({"name": "half", "arguments": {"n": 3}})


def half(n: int) -> int:
    return n // 2


@tl.app
def halved(n: int) -> int:
    if n % 2:
        raise ValueError("n must be even")
    return tl.tool(half, pure=True)(n)


def test_an_app_that_raises_while_it_is_traced_is_told_to_the_model() -> None:
    call = json.dumps({"name": "halved", "arguments": {"n": 3}})
    replies = {r"ValueError: n must be even": "sorry", "": f"<tool_call>{call}</tool_call>"}
    agent = tl.Agent("halver", tl.LLM("fake:", replies=replies), tools=[halved])
    result = asyncio.run(agent.run("3"))
    assert result.output == "sorry"
    assert [(made.arguments, made.failed) for made in result.calls] == [({"n": 3}, True)]


def test_what_a_server_that_holds_no_form_answers_is_the_answer() -> None:
    replies = {
        "half gave: 1": "It is 1.",
        r"call it<\|assistant": f'{{"calls": [{CALL}]}}',
        "": "Hello.",
    }
    model = tl.LLM("fake:", capabilities=WITHOUT_TOOLS, replies=replies)
    agent = tl.Agent("halver", model, tools=[half])
    assert agent("hi") == "Hello."
    assert agent("call it") == "It is 1."


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"tools": half}, r"tools= of the agent x is a list, as tools=\[search\]"),
        ({"tools": "half"}, r"tools= of the agent x is a list"),
        ({"budget": 5}, r"budget= of the agent x is a tl\.Budget\(\.\.\.\), not 5"),
    ],
)
def test_what_is_no_part_of_an_agent_is_refused_when_it_is_made(
    wrong: dict[str, Any], told: str
) -> None:
    with pytest.raises(TypeError, match=told):
        tl.Agent("x", tl.LLM("fake:"), **wrong)


class Terminal(io.StringIO):
    """Answers a question only when it was asked alone."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.most = 0
        self.both = threading.Barrier(2)

    def readline(self, size: int | None = -1, /) -> str:
        self.asked += 1
        self.most = max(self.most, self.asked)
        with suppress(threading.BrokenBarrierError):
            self.both.wait(0.1)
        self.asked -= 1
        return "y\n"


def test_the_terminal_asks_one_question_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdin", terminal)
    threads = [threading.Thread(target=ask_at_terminal, args=("Go?", None)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert terminal.most == 1


def test_a_cancellation_is_not_lost_behind_the_last_call() -> None:
    async def cancelled_at(step: int) -> bool:
        calling = Calling("x", None, {}, parallel=True)  # type: ignore[arg-type]
        calling.add(Call("unknown", "{}"), is_allowed=True)
        ended = False

        async def work() -> None:
            nonlocal ended
            await calling.results()
            await asyncio.sleep(60)
            ended = True

        task = asyncio.create_task(work())
        for _ in range(step):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=1)
        was_cancelled = task.cancelled()
        task.cancel()
        return was_cancelled and not ended

    for step in range(1, 8):
        assert asyncio.run(cancelled_at(step)), f"lost after {step} steps of the loop"
