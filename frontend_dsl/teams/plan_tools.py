"""What a plan may call: what an agent may call, each with the JSON schema of its arguments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frontend_dsl.agents.agent_tools import Callee, callees_of
from frontend_dsl.agents.talk import without_refs
from frontend_dsl.app import App
from frontend_dsl.teams.members import wrong
from graph_opt.graph import Json


@dataclass(frozen=True, slots=True)
class PlanTool:
    """One of them."""

    callee: Callee
    keeps_order: bool  # an app that may change something does so in the order of the program

    @property
    def name(self) -> str:
        return self.callee.name

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The JSON schema of each argument."""
        schema = dict(self.callee.arguments.schema)
        defs: Any = schema.pop("$defs", {})
        properties: Mapping[str, Any] = without_refs(schema.get("properties", {}), defs, ())
        return properties

    @property
    def required(self) -> list[str]:
        required: Any = self.callee.arguments.schema.get("required", [])
        return list(required)

    def may_start_early(self, arguments: Mapping[str, Json]) -> bool:
        """Whether a call changes nothing, so that it may begin before the plan is whole."""
        return not self.callee.needs_approval and self.callee.changes_nothing(arguments)


def plan_tools(given: Sequence[Any]) -> dict[str, PlanTool]:
    """By name. Raises DefinitionError for none, for what is no tool, and a name given twice."""
    if not given:
        raise wrong("tl.teams.planner needs tools: functions, agents or apps that a plan can call")
    apps = {each.name for each in given if isinstance(each, App)}
    return {name: PlanTool(each, name in apps) for name, each in callees_of(given).items()}


def signature_line(given: PlanTool) -> str:
    """`search(query: string, k?: integer): Finds pages.`"""
    shown = (_parameter(given, name, schema) for name, schema in given.parameters.items())
    about = given.callee.about.strip().partition("\n")[0]
    line = f"{given.name}({', '.join(shown)})"
    return f"{line}: {about}" if about else line


def _parameter(given: PlanTool, name: str, schema: Mapping[str, Any]) -> str:
    type_ = schema.get("type", "value")
    return f"{name}: {type_}" if name in given.required else f"{name}?: {type_}"
