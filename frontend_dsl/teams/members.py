"""Who may be in a team: agents, other teams, and apps and prompt functions that take one text."""

import inspect
from collections.abc import Sequence
from typing import Any, Protocol, TypeGuard, TypeVar

from frontend_dsl.agents.agent import Agent
from frontend_dsl.agents.task import task_text
from frontend_dsl.app import App
from frontend_dsl.breaks import value
from frontend_dsl.callables import result_type
from frontend_dsl.errors import DefinitionError
from frontend_dsl.prompt import PromptFunction
from frontend_dsl.signature import MISSING
from frontend_dsl.teams.team import Team
from frontend_dsl.where import user_frame

T_co = TypeVar("T_co", covariant=True)


class Member(Protocol[T_co]):
    """An agent, a team, or an app or prompt function of one text."""

    @property
    def name(self) -> str: ...
    def __call__(self, task: Any, /) -> T_co: ...


def checked(form: str, members: Sequence[object], least: int = 1) -> tuple[Member[Any], ...]:
    """The members. Raises DefinitionError for too few, one that is none, and a name given twice."""
    if len(members) < least:
        plural = "an agent" if least == 1 else f"{least} agents"
        raise wrong(f"tl.teams.{form} needs {plural}; got {len(members)}")
    found = [checked_member(form, member) for member in members]
    names = [member.name for member in found]
    for name in names:
        if names.count(name) > 1:
            raise wrong(
                f"two agents of tl.teams.{form} are called {name!r}; give each a name of its own"
            )
    return tuple(found)


def checked_member(form: str, member: object) -> Member[Any]:
    """Raises DefinitionError for what is no member of a team."""
    if not is_member(member):
        raise wrong(
            f"tl.teams.{form} takes agents, teams, apps and prompt functions, not {member!r}; "
            "make a function an app by @tl.app"
        )
    needed = _needed(member)
    if needed is not None:
        has = ", ".join(needed) or "none"
        raise wrong(
            f"a member of tl.teams.{form} is given one text; the arguments that "
            f"{member.name}() needs are: {has}; write an app with the parameter `task: str` "
            "that calls it"
        )
    return member


def is_member(member: object) -> TypeGuard[Member[Any]]:
    """Whether this is called with a text, as an agent is; a plain function or a tool is not."""
    return isinstance(member, (App, PromptFunction))


def wrong(problem: str) -> DefinitionError:
    """The error of a team that is put together wrongly, at the user's line."""
    return DefinitionError(problem, *user_frame())


def ask(member: Any, *texts: Any, **context: Any) -> Any:
    """What the member answers, in an app: a value, or of an `async def` app a coroutine."""
    if isinstance(member, (Agent, Team)):
        return member(*texts, **context)
    return member(task_text(member.name, texts, context))


async def real(answer: Any) -> Any:
    """The real value of what a member answered, in an `async def` app."""
    return await answer if inspect.isawaitable(answer) else await value(answer)


def type_of_answer(member: Any) -> Any:
    """The declared type of what a member answers, or Any."""
    if isinstance(member, (Agent, PromptFunction)):
        return member._form.out
    return result_type(member._app_function.call)


def description_of(member: Any) -> str:
    """What a member is for, in a line: its description, or the first line of its docstring."""
    said = getattr(member, "description", "") or inspect.getdoc(member) or ""
    return str(said).strip().partition("\n")[0]


def _needed(member: Any) -> list[str] | None:
    """The parameters that must be given, unless that is one or the first can be."""
    if isinstance(member, (Agent, Team)):
        return None
    if isinstance(member, App):
        names = [p.name for p in member.parameters]
        needed = [p.name for p in member.parameters if p.default is MISSING]
    else:
        parameters = inspect.signature(member._function).parameters.values()
        names = [p.name for p in parameters]
        needed = [p.name for p in parameters if p.default is p.empty]
    return None if names and needed in ([], names[:1]) else needed
