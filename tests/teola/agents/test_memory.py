"""What agents remember from one call to the next."""

import asyncio
from typing import Any

import pytest

import teola as tl
from teola.errors import NodeFailed, TraceError

llm = tl.LLM(
    "fake:",
    replies={
        r"Summarize.*Bob": "The user is Bob.",
        r"(?s)(Bob|user is Bob).*name\?<\|assistant\|>$": "Bob",
        r"name\?<\|assistant\|>$": "unknown",
        r"Bob<\|assistant\|>$": "Hello Bob.",
        "": "Fine.",
    },
)


def test_a_window_keeps_the_last_exchanges() -> None:
    agent = tl.Agent("host", llm, instructions="Be kind.", memory=tl.Window(2))
    assert agent("What is my name?") == "unknown"
    agent("I am Bob")
    result = asyncio.run(agent.run("What is my name?"))
    assert result.output == "Bob"
    assert [message.content for message in result.messages[1:-2]] == [
        "What is my name?",
        "unknown",
        "I am Bob",
        "Hello Bob.",
    ]
    agent("Tea?")
    agent("Coffee?")
    assert agent("What is my name?") == "unknown"


def test_a_summary_keeps_what_mattered_in_short() -> None:
    memory = tl.Summary(llm, after_tokens=12)
    agent = tl.Agent("host", llm, memory=memory)
    agent("I am Bob")
    assert memory.text == ""
    agent("How are you on this fine day, and how is the tea?")
    assert memory.text == "The user is Bob."
    result = asyncio.run(agent.run("What is my name?"))
    assert result.output == "Bob"
    assert "Summary of what was said before: The user is Bob." in result.messages[0].content
    assert "I am Bob" not in str(result.messages)


def test_recall_finds_what_is_like_the_task_again() -> None:
    store = tl.Store("local:")
    agent = tl.Agent("host", llm, memory=tl.Recall(store, k=1))
    agent("I am Bob, my name is Bob")
    agent("I like green tea")
    result = asyncio.run(agent.run("What is my name?"))
    assert result.output == "Bob"
    assert "I am Bob, my name is Bob\nHello Bob." in result.messages[0].content
    assert "green" not in result.messages[0].content


def test_an_agent_with_memory_is_a_node_that_keeps_the_programs_order() -> None:
    agent = tl.Agent("host", llm, memory=tl.Window(4))

    @tl.app
    def talk(name: str) -> list[str]:
        first = agent(f"I am {name}")
        return [first, agent("What is my name?")]

    assert talk("Bob") == ["Hello Bob.", "Bob"]


@pytest.mark.parametrize("wrong", [0, -1, True])
def test_a_memory_of_nothing_is_refused(wrong: int) -> None:
    with pytest.raises(TraceError, match="turns >= 1"):
        tl.Window(wrong)


def test_summaries_that_are_written_side_by_side_lose_no_exchange(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = tl.Summary(llm, after_tokens=1)

    async def summarized(before: str, old: list[tuple[str, str]]) -> str:
        await asyncio.sleep(0.01 / len(old))  # the last one to begin is ready first
        return " ".join([before, *(task for task, _ in old)])

    monkeypatch.setattr(memory, "_summarized", summarized)
    tasks = [f"number {n}" for n in range(5)]

    async def side_by_side() -> str:
        await asyncio.gather(*(memory.keep(task, "Fine.") for task in tasks))
        about, turns = await memory.recall("")
        return about + str(turns)

    known = asyncio.run(side_by_side())
    assert [task for task in tasks if known.count(task) != 1] == []
    assert "number" in memory.text


def test_a_summary_that_fails_keeps_the_exchanges() -> None:
    short = tl.LLM("fake:", max_context_tokens=6, name="short")
    memory = tl.Summary(short, after_tokens=3)
    agent = tl.Agent("host", llm, memory=memory)
    agent("I am Bob")
    with pytest.raises(NodeFailed, match="the prompt has"):
        agent("Who are you, on this fine day?")
    _, turns = asyncio.run(memory.recall(""))
    assert turns[0] == ("user", "I am Bob")
    assert memory.text == ""


def test_what_was_said_before_makes_no_calls() -> None:
    turn = '{"content": "", "calls": [{"id": "c", "name": "erase", "arguments": "{}"}]}'
    replies = {"<tool_call>": "markup", r"Say it<\|assistant\|>$": turn, "": "text"}
    erase = tl.tool(lambda: None, name="erase")
    agent = tl.Agent("host", tl.LLM("fake:", replies=replies), tools=[erase], memory=tl.Window(2))
    assert agent("Say it") == turn
    assert agent("And now?") == "text"


@pytest.mark.parametrize("wrong", [5, tl.Window, "window"])
def test_what_is_no_memory_is_refused_with_one_that_is(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"memory= of the agent host is a memory, as tl\.Window"):
        tl.Agent("host", llm, memory=wrong)
