"""What type checkers see of teams: the answer of the last agent, of a merge, of a judge."""

from typing import assert_type

from pydantic import BaseModel

import teola as tl

llm = tl.LLM("fake:")


class Ruling(BaseModel):
    winner: str


ann = tl.Agent("ann", llm)
bob = tl.Agent("bob", llm, tools=[len])
judge = tl.Agent("judge", llm, out=Ruling)
critic = tl.Agent("critic", llm, out=tl.teams.Verdict)


@tl.tool(pure=True)
def count(answers: list[str]) -> int:
    return len(answers)


@tl.app
def shout(text: str) -> str:
    return ann(text)


@tl.app
def app(topic: str) -> Ruling:
    return tl.teams.debate(ann, bob, judge=judge)(topic, mood="calm")


assert_type(tl.teams.sequence(ann, judge)("x"), Ruling)
assert_type(tl.teams.sequence(judge, shout)("x"), str)
assert_type(tl.teams.parallel(ann, bob)("x"), list[str])
assert_type(tl.teams.parallel(ann, bob, merge=judge)("x"), Ruling)
assert_type(tl.teams.parallel(ann, bob, merge=count)("x"), int)
assert_type(tl.teams.critic(ann, critic)("x"), str)
assert_type(tl.teams.debate(ann, bob)("x"), list[tl.teams.Line])
assert_type(tl.teams.debate(ann, bob, judge=judge)("x"), Ruling)
assert_type(tl.teams.group_chat(ann, bob, merge=judge)("x"), Ruling)
assert_type(tl.teams.router(llm, {"ann": ann, "bob": bob})("x"), str)
assert_type(tl.teams.planner(llm, tools=[len, ann])("x"), str)
assert_type(tl.teams.planner(llm, tools=[ann], joiner=judge)("x"), Ruling)
assert_type(tl.teams.planner(llm, tools=[ann], joiner=lambda results: len(results))("x"), int)
assert_type(tl.teams.handoffs(ann, bob, start="bob")("x"), str)
assert_type(tl.teams.sections(ann, judge)("x"), list[Ruling])
assert_type(tl.teams.sequence(tl.teams.sequence(ann), judge)("x"), Ruling)


async def listen() -> None:
    assert_type(await tl.teams.sequence(ann, judge).arun("x"), Ruling)
    async for event in tl.teams.sequence(ann).astream("x"):
        assert_type(event.kind, str)
