"""Agents without tools: one prompt each, inside apps and outside of them."""

import asyncio
from textwrap import dedent

import pytest
from pydantic import BaseModel

import teola as tl
from frontend_dsl.agents.task import task_text
from teola.errors import ArgumentError, ConfigError

llm = tl.LLM("fake:", replies={r"Rate": '{"stars": 4}', r"Critic.*short": "good", "": "a draft"})


class Rating(BaseModel):
    stars: int


writer = tl.Agent("writer", llm, instructions="Write.", max_tokens=8)
critic = tl.Agent("critic", llm, instructions="Rate what you read.", out=Rating)


@tl.app
def write_and_rate(topic: str, hints: list[str]) -> int:
    draft = writer(topic, hints=hints)
    return critic(draft, topic=topic).stars


def test_an_agent_without_tools_is_one_prompt_of_the_app() -> None:
    graph = str(write_and_rate.graph())
    expected = dedent("""\
        %join = join %hints [sep="\\n", template="{text}"]
          %writer.empty = context [engine="llm"]
          %writer.prompt = prefill %writer.empty @system "Write." @user %topic "\\n\\nhints:\\n" \
    %join @assistant [engine="llm"]
          %writer, %writer.context = decode %writer.prompt [engine="llm", max_tokens=8]
          %critic.empty = context [engine="llm"]
          %critic.prompt = prefill %critic.empty @system "Rate what you read." @user %writer \
    "\\n\\ntopic:" @sp %topic @assistant [engine="llm"]
        """).replace("    %join @", "%join @")
    assert " ".join(expected.split()) in " ".join(graph.split())


@pytest.mark.parametrize("optimize", [True, False])
def test_agents_give_values_of_their_types_in_an_app(optimize: bool) -> None:
    assert write_and_rate.using(optimize=optimize)("tea", ["short"]) == 4


def test_outside_of_an_app_an_agent_runs() -> None:
    assert critic("tea", draft="hot water") == Rating(stars=4)
    assert asyncio.run(writer.arun("tea")) == "a draft"
    assert writer.batch(["tea", {"task": "coffee", "length": 3}]) == ["a draft", "a draft"]
    events = list(writer.stream("tea"))
    assert "".join(e.fields["text"] for e in events if e.kind == "text") == "a draft"
    assert events[-1].fields["result"] == "a draft"


def test_what_is_said_reads_as_paragraphs_and_lines() -> None:
    context = {"pair": Rating(stars=1), "n": 3, "names": ("x", "y")}
    said = task_text("writer", ["First.", ["a", "b"]], context)
    assert said == 'First.\n\na\nb\n\npair: {"stars":1}\nn: 3\nnames:\nx\ny'


def test_an_agent_is_called_in_an_async_app_and_in_a_map() -> None:
    @tl.app
    async def two(topic: str) -> str:
        draft = await tl.value(writer(topic))
        return f"{draft} of {await tl.value(critic(draft).stars)}"

    @tl.app
    def many(topics: list[str]) -> list[str]:
        return tl.map(writer, topics)

    assert two("tea") == "a draft of 4"
    assert many(["tea", "coffee"]) == ["a draft", "a draft"]


def test_engines_of_an_agent_are_replaced_by_name_also_in_an_async_app() -> None:
    @tl.app
    async def ask(topic: str) -> str:
        return await tl.value(writer(topic))

    assert ask.using(engines={"llm": "fake:"})("tea") != "a draft"
    assert writer.using(engines={"llm": "fake:"})("tea") != "a draft"
    with pytest.raises(ConfigError, match="no engine named 'other'"):
        ask.using(engines={"other": "fake:"})("tea")


def test_an_agent_that_is_asked_nothing_says_so() -> None:
    with pytest.raises(ArgumentError, match="writer\\(\\) is asked nothing"):
        writer("  ")
    with pytest.raises(ArgumentError, match="needs argument 'task'"):
        writer()


@pytest.mark.parametrize("name", ["", "two words", "1st", "x" * 65])
def test_a_name_is_one_that_a_tool_can_have(name: str) -> None:
    with pytest.raises(ValueError, match="the name of a tl.Agent has letters"):
        tl.Agent(name, llm)
