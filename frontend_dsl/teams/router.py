"""One of several agents answers: the one whose name a model finds likeliest."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from frontend_dsl.ask import check_llm
from frontend_dsl.components import LLM
from frontend_dsl.control import cond
from frontend_dsl.messages import Message, turn_parts
from frontend_dsl.teams.members import Member, ask, checked_member, wrong
from frontend_dsl.teams.picking import Margin, pick, shown_names
from frontend_dsl.teams.team import Team
from frontend_dsl.tools import tool
from frontend_dsl.tracer import tracing

T = TypeVar("T")
TASK = "Task: "
SYSTEM = "Choose who answers. Write the name alone."


def router(
    llm: LLM,
    agents: Mapping[str, Member[T]],
    *,
    default: str | None = None,
    margin: float = 0.0,
    instructions: str = "",
    name: str = "router",
    description: str = "",
) -> Team[T]:
    """The agent whose name `llm` finds likeliest behind the task answers it; no other runs.

    The model reads what each is for: its description, or the first line of its instructions. If
    the likeliest name is ahead of the next by less than `margin` (of the mean log-probability of
    their tokens), the agent named by `default` answers.
    """
    check_llm("tl.teams.router", llm)
    routes = _checked(agents)
    sure = _checked_margin(routes, default, margin)
    about = "\n\n".join(filter(None, [instructions, SYSTEM, shown_names(routes)]))

    def run(members: Any, task: str) -> Any:
        turns = [Message("system", about), Message("user", f"{TASK}{task}")]
        parts = turn_parts(turns, (about, TASK), tracing("a router").given)
        chosen = pick(llm, None, parts, list(routes), sure)
        return _routed(list(zip(routes, members, strict=True)), chosen, task)

    return Team(name, [*routes.values()], run, description, also=[llm])


def _routed(routes: Sequence[tuple[str, Any]], chosen: Any, task: str) -> Any:
    (name, member), *rest = routes
    if not rest:
        return ask(member, task)
    return cond(
        _is_named(chosen, name),
        lambda: ask(member, task),
        lambda: _routed(rest, chosen, task),
    )


def _checked(agents: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(agents, Mapping) or len(agents) < 2:
        raise wrong("tl.teams.router takes two agents or more by their names, as in {'sales': a}")
    for name in agents:
        if not isinstance(name, str) or not name.strip():
            raise wrong(f"a name that tl.teams.router chooses is a text, not {name!r}")
    return {name: checked_member("router", member) for name, member in agents.items()}


def _checked_margin(routes: Mapping[str, Any], default: str | None, margin: float) -> Margin | None:
    if default is None and not margin:
        return None
    if default is None or default not in routes:
        has = ", ".join(map(repr, routes))
        raise wrong(f"default= of tl.teams.router is one of {has}, not {default!r}")
    if isinstance(margin, bool) or not margin > 0:
        raise wrong(f"default= of tl.teams.router needs margin= above 0; got {margin!r}")
    return Margin(default, margin)


@tool(pure=True, name="is_named")
def _is_named(chosen: str, name: str) -> bool:
    return chosen == name
