"""A group that talks: one transcript, many speakers."""

from collections.abc import Sequence
from inspect import isawaitable
from typing import Any, Literal, TypeVar, overload

from frontend_dsl.ask import check_count, check_llm
from frontend_dsl.breaks import value
from frontend_dsl.components import LLM
from frontend_dsl.teams.members import Member, checked, wrong
from frontend_dsl.teams.merging import Merge, checked_merge
from frontend_dsl.teams.picking import pick, shown_names
from frontend_dsl.teams.team import Team
from frontend_dsl.teams.transcript import BREAK, Line, Transcript
from frontend_dsl.tools import Tool
from graph_opt.graph import Marker

R = TypeVar("R")
SpeakerOrder = Literal["round_robin", "model"]
SYSTEM = "Several speakers talk. You write what each of them says."
OVER = "The conversation is over."
WHO = "Who of these speaks next? Answer with the name alone."


@overload
def group_chat(
    *agents: Member[Any],
    rounds: int = 2,
    speaker: SpeakerOrder = "round_robin",
    llm: LLM | None = None,
    merge: None = None,
    name: str = ...,
    description: str = ...,
) -> Team[list[Line]]: ...
@overload
def group_chat(
    *agents: Member[Any],
    rounds: int = 2,
    speaker: SpeakerOrder = "round_robin",
    llm: LLM | None = None,
    merge: Merge[R],
    name: str = ...,
    description: str = ...,
) -> Team[R]: ...


def group_chat(
    *agents: Member[Any],
    rounds: int = 2,
    speaker: SpeakerOrder = "round_robin",
    llm: LLM | None = None,
    merge: Any = None,
    name: str = "group_chat",
    description: str = "",
) -> Team[Any]:
    """Agents talk about the task; what each says, all others read. The answer are the lines.

    There are `rounds` turns for each agent: in their order, or with `speaker="model"` for whom
    `llm` names next, never the same one twice in a row. `merge` makes the answer of the lines: a
    function, or an agent that has read them.

    The transcript is read once by each model, whoever speaks; agents without tools answer in a
    fork of it, behind which stand their instructions. Others are given it as a text.
    """
    check_count("tl.teams.group_chat", "rounds", rounds, 1)
    members, ending = checked("group_chat", agents, least=2), checked_merge("group_chat", merge)
    if speaker == "round_robin":
        if llm is not None:
            raise wrong("llm= of tl.teams.group_chat chooses speakers; write speaker='model'")
        return Team(name, members, _in_order(rounds, ending), description, also=[ending])
    if speaker != "model":
        raise wrong(f"speaker= of tl.teams.group_chat is 'round_robin' or 'model', not {speaker!r}")
    check_llm("tl.teams.group_chat(speaker='model', llm=...)", llm)
    assert llm is not None, "checked"
    return Team(name, members, _as_named(rounds, llm, ending), description, also=[ending, llm])


def closed(chat: Transcript, merge: Any, request: str) -> Any:
    """What comes out of a conversation: its lines, or what is made of them."""
    if merge is None:
        return chat.lines()
    return merge(chat.lines()) if isinstance(merge, Tool) else chat.close(merge, request)


def _in_order(rounds: int, merge: Any) -> Any:
    def run(members: Sequence[Any], task: str) -> Any:
        chat = Transcript(SYSTEM, task)
        for _ in range(rounds):
            for member in members:
                chat.speak(member)
        return closed(chat, merge, OVER)

    return run


def _as_named(rounds: int, llm: LLM, merge: Any) -> Any:
    async def run(members: Sequence[Any], task: str) -> Any:
        chat = Transcript(SYSTEM, task)
        last = None
        for _ in range(rounds * len(members)):
            others = {each.name: each for each in members if each is not last}
            last = next(iter(others.values()))
            if len(others) > 1:
                asked = [f"{BREAK}{WHO}\n{shown_names(others)}", Marker("assistant")]
                last = others[await value(pick(llm, chat.read_by(llm), asked, list(others)))]
            await chat.aspeak(last)
        answer = closed(chat, merge, OVER)  # a value: its text is the app's own in streams
        return await answer if isawaitable(answer) else answer

    return run
