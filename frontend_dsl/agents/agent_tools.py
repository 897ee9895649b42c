"""What an agent may call: functions, `tl.tool`s, apps, other agents, and every `AgentTool`."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from frontend_dsl.agents.arguments import Arguments, arguments_of, arguments_of_schema
from frontend_dsl.app import App
from frontend_dsl.breaks import not_awaited
from frontend_dsl.components import Component, Composed
from frontend_dsl.errors import DefinitionError
from frontend_dsl.reads import Reads
from frontend_dsl.tools import Tool, tool
from frontend_dsl.where import user_frame
from graph_opt.graph import Json
from graph_opt.ops import has_effects

_NAME = re.compile(r"[\w.:/-]+")


@runtime_checkable
class AgentTool(Protocol):
    """A tool that describes itself, as one of an MCP server does."""

    name: str
    description: str
    parameters: Mapping[str, Any]  # JSON schema of an object
    pure: bool
    reads: bool
    needs_approval: bool

    async def call(self, arguments: dict[str, Any]) -> Any:
        """Its result. What it raises is told to the model."""


@dataclass(frozen=True, slots=True, eq=False)
class Callee:
    """A tool as an agent uses it."""

    name: str
    about: str
    arguments: Arguments
    emit: Callable[[Mapping[str, Any]], Any]  # its nodes, in the segment that is traced
    changes_nothing: Callable[[Mapping[str, Any]], bool]  # so that a call may start early
    needs_approval: bool = False
    components: Sequence[Component] = ()  # those whose engines it may use
    is_pure: bool = False  # whatever the arguments

    @property
    def described(self) -> dict[str, Json]:
        """As engines take it."""
        schema = dict(self.arguments.schema)
        return {"name": self.name, "description": self.about, "parameters": schema}


def callee_of(given: Any) -> Callee:
    """Raises DefinitionError for what no agent can call."""
    if isinstance(given, App):
        return _of_app(given)
    if isinstance(given, Tool):
        return _of_tool(given)
    if isinstance(given, AgentTool):
        return _of_self_described(given)
    if callable(given):
        return _of_tool(tool(given))
    problem = f"{given!r} is no tool: give a function, a tl.tool, an app or an agent"
    raise DefinitionError(problem, *user_frame())


def callees_of(tools: Sequence[Any]) -> dict[str, Callee]:
    """By name. Raises DefinitionError where two have one name, and for a lambda without one."""
    found: dict[str, Callee] = {}
    for callee in map(callee_of, tools):
        if not _NAME.fullmatch(callee.name):
            problem = f"{callee.name!r} is no name that a model can call: name it by tl.tool(name=)"
            raise DefinitionError(problem, *user_frame())
        if callee.name in found:
            problem = (
                f"two tools have the name {callee.name!r}: name one anew by tl.tool(name=), those "
                "of an MCP server by tl.mcp.tools(prefix=)"
            )
            raise DefinitionError(problem, *user_frame())
        found[callee.name] = callee
    return found


def result_text(value: Any) -> str:
    """What a tool gave, as the model reads it."""
    if isinstance(value, str):
        return value
    if hasattr(value, "model_dump_json"):
        return str(value.model_dump_json())
    if value is None:
        return "done"
    try:
        return json.dumps(value, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError):
        return str(value)


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return getattr(value, "text", None) or str(value)


def _of_tool(given: Tool[..., Any]) -> Callee:
    arguments = arguments_of(given.name, given.function, skip_first=given.is_bound)
    beside = given.beside()
    is_free = given.pure and not given.approval  # else nothing but an approved call runs it
    return Callee(
        name=given.name,
        about=arguments.about,
        arguments=arguments,
        emit=lambda known: (given if is_free else beside)(**known),
        changes_nothing=lambda _: given.pure,
        needs_approval=given.approval,
        is_pure=given.pure,
    )


def _of_app(app: App[..., Any]) -> Callee:
    is_composed = isinstance(app, Composed)
    arguments = _TASK if is_composed else arguments_of(app.name, app.function)
    about = str(getattr(app, "description", "") or "") if is_composed else arguments.about
    components = app.components() if isinstance(app, Composed) else Reads(app.function).components
    listed = components.values() if isinstance(components, dict) else components

    def emit(known: Mapping[str, Any]) -> Any:
        with not_awaited():
            return app(**known)

    def changes_nothing(known: Mapping[str, Any]) -> bool:
        if app.is_async:
            return bool(app.access)
        return not any(map(has_effects, app.graph(**known).nodes))

    return Callee(
        name=app.name,
        about=about or app.name.replace("_", " "),
        arguments=arguments,
        emit=emit,
        changes_nothing=changes_nothing,
        components=tuple(listed),
        is_pure=bool(app.access) if app.is_async else False,
    )


def _of_self_described(given: AgentTool) -> Callee:
    async def call(arguments: dict[str, Any]) -> Any:
        return await given.call(arguments)

    call.__name__ = call.__qualname__ = given.name
    is_pure = given.pure or given.reads
    node = Tool(call, pure=is_pure, reads=given.reads, name=given.name)
    node = node if is_pure else node.beside()
    return Callee(
        name=given.name,
        about=given.description,
        arguments=arguments_of_schema(given.parameters),
        emit=lambda known: node(dict(known)),
        changes_nothing=lambda _: is_pure,
        needs_approval=given.needs_approval,
        is_pure=is_pure,
    )


_TASK = arguments_of_schema(
    {
        "properties": {
            "task": {"type": "string", "description": "What to do, and all that one must know."}
        },
        "required": ["task"],
        "additionalProperties": False,
    }
)
