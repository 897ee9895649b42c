"""Agents one after another, or side by side."""

from typing import Any, TypeVar, overload

from frontend_dsl.teams.members import Member, ask, checked
from frontend_dsl.teams.merging import Merge, checked_merge, merged
from frontend_dsl.teams.team import Team

T = TypeVar("T")
R = TypeVar("R")
AnyMember = Member[Any]


@overload
def sequence(only: Member[T], /, *, name: str = ..., description: str = ...) -> Team[T]: ...
@overload
def sequence(
    first: AnyMember, last: Member[T], /, *, name: str = ..., description: str = ...
) -> Team[T]: ...
@overload
def sequence(
    a: AnyMember, b: AnyMember, last: Member[T], /, *, name: str = ..., description: str = ...
) -> Team[T]: ...
@overload
def sequence(
    a: AnyMember,
    b: AnyMember,
    c: AnyMember,
    last: Member[T],
    /,
    *,
    name: str = ...,
    description: str = ...,
) -> Team[T]: ...
@overload
def sequence(*agents: AnyMember, name: str = ..., description: str = ...) -> Team[Any]: ...


def sequence(*agents: AnyMember, name: str = "sequence", description: str = "") -> Team[Any]:
    """Each agent is asked what the one before it answered; the last one's answer is the team's."""

    def run(members: Any, task: str) -> Any:
        answer: Any = task
        for member in members:
            answer = ask(member, answer)
        return answer

    return Team(name, checked("sequence", agents), run, description)


@overload
def parallel(
    *agents: Member[T], merge: None = None, name: str = ..., description: str = ...
) -> Team[list[T]]: ...
@overload
def parallel(
    *agents: AnyMember, merge: Merge[R], name: str = ..., description: str = ...
) -> Team[R]: ...


def parallel(
    *agents: AnyMember, merge: Any = None, name: str = "parallel", description: str = ""
) -> Team[Any]:
    """All agents are asked the same, side by side.

    Without `merge` the answers are a list, in the order of the agents. A function is given that
    list; an agent is given the task and each answer by its agent's name.
    """
    joiner = checked_merge("parallel", merge)

    def run(members: Any, task: str) -> Any:
        answers = [ask(member, task) for member in members]
        return merged(joiner, task, [member.name for member in members], answers)

    return Team(name, checked("parallel", agents), run, description, also=[joiner])
