"""What a plan may call: functions, tools, agents, teams and apps, each with a JSON schema."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from frontend_dsl.agents.agent import Agent
from frontend_dsl.app import App
from frontend_dsl.schema import json_schema
from frontend_dsl.signature import MISSING, AppParameter, app_parameters
from frontend_dsl.teams.members import ask, description_of, is_member, wrong
from frontend_dsl.teams.team import Team
from frontend_dsl.tools import Tool, tool
from graph_opt.ops import has_effects

_TASK = AppParameter("task", str, MISSING, is_static=False)


@dataclass(frozen=True, slots=True)
class PlanTool:
    """One of them. `call` gives a value, or a coroutine, in an `async def` app."""

    name: str
    description: str
    parameters: Mapping[str, Any]  # the JSON schema of each
    required: Sequence[str]
    call: Callable[..., Any]
    check: Callable[[Mapping[str, Any]], dict[str, Any]]  # raises ValueError for wrong arguments
    writes: bool  # it may change something outside


def plan_tools(given: Sequence[Any]) -> dict[str, PlanTool]:
    """By name. Raises DefinitionError for none, for what is no tool, and a name given twice."""
    if not given:
        raise wrong("tl.teams.planner needs tools: functions, agents or apps that a plan can call")
    found: dict[str, PlanTool] = {}
    for each in map(_plan_tool, given):
        if each.name in found:
            raise wrong(f"two tools of tl.teams.planner are called {each.name!r}; rename one")
        found[each.name] = each
    return found


def _plan_tool(given: Any) -> PlanTool:
    if isinstance(given, (Agent, Team)):
        return _of_parameters(given, (_TASK,), lambda task: ask(given, task))
    if isinstance(given, App):
        return _of_parameters(given, given.parameters, given)
    if isinstance(given, Tool):
        return _of_parameters(given, app_parameters(given._function), given)
    if is_member(given) or not callable(given):
        raise wrong(f"tl.teams.planner takes functions, tools, agents and apps, not {given!r}")
    return _plan_tool(tool(given))


def _of_parameters(
    given: Any, parameters: Sequence[AppParameter], call: Callable[..., Any]
) -> PlanTool:
    return PlanTool(
        given.name,
        description_of(given),
        {each.name: json_schema(each.declared or each.type) for each in parameters},
        [each.name for each in parameters if each.default is MISSING],
        call,
        lambda arguments: _checked(parameters, arguments),
        _writes(given),
    )


def _checked(parameters: Sequence[AppParameter], arguments: Mapping[str, Any]) -> dict[str, Any]:
    known = {each.name: each for each in parameters}
    unknown = [name for name in arguments if name not in known]
    missing = [p.name for p in parameters if p.default is MISSING and p.name not in arguments]
    if unknown or missing:
        problem = f"unknown: {', '.join(unknown)}" if unknown else f"missing: {', '.join(missing)}"
        raise ValueError(f"arguments {problem}; it takes {', '.join(known) or 'none'}")
    return {name: _checked_one(known[name], value) for name, value in arguments.items()}


def _checked_one(parameter: AppParameter, value: Any) -> Any:
    try:
        return parameter.check(value)
    except ValidationError as error:
        raise ValueError(f"argument {parameter.name}: {error.errors()[0]['msg']}") from None


def _writes(given: Any) -> bool:
    if isinstance(given, Tool):
        return not given.pure
    if given.is_async:
        return True
    return any(map(has_effects, given.graph().nodes)) if not _needs_more(given) else True


def _needs_more(app: Any) -> bool:
    """Whether only a call can trace it: an argument without a default specialises its graph."""
    return any(p.is_static and p.default is MISSING for p in app.parameters)


def signature_line(given: PlanTool) -> str:
    """`search(query: string, k?: integer): Finds pages.`"""
    shown = (_parameter(given, name, schema) for name, schema in given.parameters.items())
    line = f"{given.name}({', '.join(shown)})"
    return f"{line}: {given.description}" if given.description else line


def _parameter(given: PlanTool, name: str, schema: Mapping[str, Any]) -> str:
    type_ = schema.get("type", "value")
    return f"{name}: {type_}" if name in given.required else f"{name}?: {type_}"
