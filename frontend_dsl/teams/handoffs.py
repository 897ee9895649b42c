"""Agents that hand a conversation on to one another."""

from collections.abc import Sequence
from typing import Any, TypeVar

from backends.errors import HandoffInvalid
from frontend_dsl.agents.agent import Agent
from frontend_dsl.ask import check_count
from frontend_dsl.teams.holder import Holder, Transfer, Turn, said_next
from frontend_dsl.teams.members import checked, wrong
from frontend_dsl.teams.team import Team

T = TypeVar("T")


def handoffs(
    *agents: Agent[T],
    start: str | None = None,
    max_handoffs: int = 8,
    name: str = "handoffs",
    description: str = "",
) -> Team[T]:
    """The agent called `start` (by default the first) begins; each may hand on to any other.

    For that each has a tool `transfer_to_NAME`, with a reason. The agent that is handed to goes on
    with what was said and found out so far, behind its own instructions. Raises
    errors.HandoffInvalid after `max_handoffs`, and for an agent that insists on a name that none
    has.
    """
    check_count("tl.teams.handoffs", "max_handoffs", max_handoffs, 1)
    members = checked("handoffs", agents, least=2)
    for member in members:
        if not isinstance(member, Agent):
            raise wrong(f"tl.teams.handoffs takes tl.Agents, which have tools; not {member!r}")
    first = members[0].name if start is None else start
    names = [member.name for member in members]
    if first not in names:
        raise wrong(f"start= of tl.teams.handoffs is one of {', '.join(names)}, not {start!r}")

    async def run(members: Sequence[Agent[Any]], task: str) -> Any:
        return await _held(members, first, task, max_handoffs)

    return Team(name, members, run, description)


async def _held(members: Sequence[Agent[Any]], first: str, task: str, max_handoffs: int) -> Any:
    by_name = {member.name: member for member in members}
    turns: list[Turn] = [("user", task)]
    path = [first]
    while len(path) <= max_handoffs + 1:
        active = by_name[path[-1]]
        others = [member for member in members if member is not active]
        result = await Holder(active, others, turns).run(task)
        if not isinstance(result.output, Transfer):
            return result.output
        if result.output.to not in by_name:
            raise HandoffInvalid(
                f"the agent {active.name!r} hands on to {result.output.to!r}, and there is no such "
                f"agent; there are {', '.join(by_name)}"
            )
        turns = said_next(turns, active.name, result)
        path.append(result.output.to)
    raise HandoffInvalid(
        f"the conversation was handed on more than {max_handoffs} times: {' -> '.join(path)}; say "
        "in the agents' instructions who answers what, or raise max_handoffs="
    )
