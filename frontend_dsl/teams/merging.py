"""How the answers of several agents become one: by an agent, by a function, or as a list."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from frontend_dsl.teams.members import Member, ask, checked_member, is_member, wrong
from frontend_dsl.tools import Tool, tool

R = TypeVar("R")
Merge: TypeAlias = Member[R] | Callable[[list[Any]], R]


def checked_merge(form: str, merge: object) -> Any:
    """None, a member, or a tool. Raises DefinitionError for what cannot merge."""
    if merge is None or isinstance(merge, Tool):
        return merge
    if is_member(merge):
        return checked_member(form, merge)
    if not callable(merge):
        raise wrong(f"merge= of tl.teams.{form} is an agent or a function of a list, not {merge!r}")
    return tool(name=_name_of(merge))(merge)


def merged(merge: Any, task: str, names: Sequence[str], answers: Sequence[Any]) -> Any:
    """One answer of many. An agent is told the task, then each answer by its name."""
    if merge is None:
        return [*answers]
    if isinstance(merge, Tool):
        return merge([*answers])
    return ask(merge, task, **dict(zip(names, answers, strict=True)))


def merged_list(merge: Any, task: str, name: str, answers: Any) -> Any:
    """The same of a list whose length is known only when the app runs."""
    if merge is None:
        return answers
    return merge(answers) if isinstance(merge, Tool) else ask(merge, task, **{name: answers})


def _name_of(function: Any) -> str:
    name = str(getattr(function, "__name__", "merge"))
    return "merge" if name == "<lambda>" else name
