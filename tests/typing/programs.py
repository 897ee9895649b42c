"""A user's file of programs, for type checkers: each `assert_type` is the declared type."""

from typing import assert_type

from pydantic import BaseModel

import teola as tl

llm = tl.LLM("fake:")


class Plan(BaseModel):
    steps: list[str]


@tl.program(llm)
def talk(s: tl.State, question: str, n: int = 2) -> str:
    s += tl.system("Be brief.")
    s += tl.user("Question: " + question, "Answer it.")
    s += tl.assistant("Answer: " + tl.gen("answer", max_tokens=4) + "\n")
    s += tl.select("kind", choices=["a", "b"])
    forks = s.fork(n)
    for fork in forks:
        with fork.user():
            fork += "Plan it."
        fork += tl.gen("plan", out=Plan)
    s.join(forks, "concat")
    assert_type(forks, list[tl.State])
    assert_type(s["answer"], str)
    assert_type(s.get("plan", list[Plan]), list[Plan])
    assert_type(s.scores("kind"), list[float])
    assert_type(s.messages, list[tl.Message])
    return "Tip: " + s["answer"]


@tl.program(llm, timeout_s=3)
def whole(s: tl.State, question: str) -> tl.State:
    s += question
    return s


@tl.program(llm)
def nothing(s: tl.State, question: str) -> None:
    s += question


@tl.program(llm)
async def going(s: tl.State, question: str) -> Plan:
    s += question
    s += tl.gen("plan", out=Plan)
    assert_type(await tl.value(s["plan"]), str)
    return await tl.value(s.get("plan", Plan))


@tl.program(llm)
async def whole_later(s: tl.State, question: str) -> tl.State:
    s += question
    return s


@tl.app
def pick(question: str) -> str:
    s = tl.State(llm)
    s += question
    return tl.select(llm, question, ["yes", "no"], score="sum")


def types() -> None:
    assert_type(talk("x"), str)
    assert_type(talk.batch([{"question": "x"}]), list[str | Exception])
    assert_type(whole("x"), tl.ProgramResult)
    assert_type(nothing("x"), tl.ProgramResult)
    assert_type(going("x"), Plan)
    assert_type(whole_later("x"), tl.ProgramResult)
    assert_type(whole("x")["a"], str)
    assert_type(whole("x").get("a", Plan), Plan)
    assert_type(tl.select(llm, "Is it?", ["yes", "no"]), str)
    talk(question=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
