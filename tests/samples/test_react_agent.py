"""The agent that looks up and calculates: on scripted models, and on the real one."""

import asyncio
import json
import re
from typing import Any

import pytest

import teola as tl
from samples import react_agent
from samples.react_agent import Answer, calculate, look_up

DENSITY = "How many people are there on a square kilometre in Norway?"


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def agent_on(replies: dict[str, str]) -> "tl.Agent[Answer]":
    llm = tl.LLM("fake:", replies=replies)
    return tl.Agent("agent", llm, tools=[look_up, calculate], out=Answer, max_turns=6)


def test_what_was_looked_up_side_by_side_is_calculated_with() -> None:
    both = call("look_up", country="Norway", what="people")
    both += call("look_up", country="Norway", what="km2")
    agent = agent_on(
        {
            r"(?s)14\.24.*as JSON": '{"number": 14}',
            r"14\.24": "It is 14.",
            r"(?s)5500000.*386000": call("calculate", expression="5500000 / 386000"),
            re.escape(DENSITY): both,
        }
    )
    result = asyncio.run(agent.run(DENSITY))
    assert result.output == Answer(number=14)
    assert [made.name for made in result.calls] == ["look_up", "look_up", "calculate"]
    assert not any(made.failed for made in result.calls)


def test_a_country_that_it_does_not_know_is_told_to_the_model() -> None:
    agent = agent_on(
        {
            r"(?s)12500.*as JSON": '{"number": 12500}',
            r"(?s)wrong arguments.*country": "12500",
            r"Atlantis": call("look_up", country="Atlantis", what="people"),
        }
    )
    result = asyncio.run(agent.run("How many people live in Atlantis?"))
    assert result.calls[0].failed
    assert result.output.number == 12500


@pytest.mark.parametrize(
    ("expression", "result"), [("(100 - 40) / 12", 5.0), ("2 + 3 * 4", 14.0), ("7", 7.0)]
)
def test_sums_are_worked_out(expression: str, result: float) -> None:
    assert calculate(expression) == result


@pytest.mark.parametrize("expression", ["__import__('os')", "2 ** 9", "x", "'a' * 3"])
def test_nothing_but_sums_is_worked_out(expression: str) -> None:
    with pytest.raises(ValueError, match="write numbers"):
        calculate(expression)


def test_it_says_in_its_docstring_how_it_is_run() -> None:
    assert "run-graph samples/react_agent.py:answer" in (react_agent.__doc__ or "")


@pytest.mark.model
def test_the_real_model_looks_the_number_up_optimized_and_plain() -> None:
    assert react_agent.answer() == 5_500_000
    assert react_agent.answer.using(optimize=False, memo=False)() == 5_500_000
