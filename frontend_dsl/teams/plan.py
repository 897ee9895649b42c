"""A plan: tasks that a model writes as JSON, each a call that may take what earlier ones gave.

{"tasks": [{"id": 1, "tool": "search", "arguments": {"query": "SQLite"}},
           {"id": 2, "tool": "summarize", "arguments": {"task": "$1"}}]}
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backends.errors import PlanInvalid
from frontend_dsl.agents.task import shown
from frontend_dsl.teams.plan_tools import PlanTool
from graph_opt.graph import Json

REFERENCE = re.compile(r"\$(\d+)")
_REFERENCE_SCHEMA: dict[str, Json] = {"type": "string", "pattern": r"^\$[1-9][0-9]?$"}


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """One task of a plan."""

    id: int
    tool: str
    arguments: Mapping[str, Any]
    after: frozenset[int]  # the tasks that it waits for

    def __str__(self) -> str:
        return f"{self.id}. {self.tool}({json.dumps(self.arguments, ensure_ascii=False)})"


def plan_schema(tools: Mapping[str, PlanTool], first: int, most: int) -> dict[str, Json]:
    """What a plan is held to: so many tasks at most, with ids from `first` on."""
    last = first + most - 1
    tasks: list[Json] = [_task_schema(each, first, last) for each in tools.values()]
    items: Json = tasks[0] if len(tasks) == 1 else {"anyOf": tasks}
    listed: dict[str, Json] = {"type": "array", "items": items, "minItems": 1, "maxItems": most}
    return _object({"tasks": listed}, ["tasks"])


def read_task(text: str, tools: Mapping[str, PlanTool], known: Sequence[int]) -> PlannedTask:
    """The task that a JSON text says; `known` are the tasks before it. Raises PlanInvalid."""
    written = json.loads(text)
    if not isinstance(written, dict) or not isinstance(written.get("id"), int):
        raise PlanInvalid(f"{text} is no task: write id, tool and arguments")
    number, name = written["id"], written.get("tool")
    if number in known:
        raise PlanInvalid(f"there are two tasks {number}; number them one after another")
    if name not in tools:
        raise PlanInvalid(f"task {number} calls {name!r}; the tools are {', '.join(tools)}")
    arguments = written.get("arguments")
    if not isinstance(arguments, dict):
        raise PlanInvalid(f"the arguments of task {number} are no object but {arguments!r}")
    after = {*references(arguments), *_after(number, written)}
    for other in sorted(after):
        if other not in known:
            raise PlanInvalid(
                f"task {number} takes what task {other} gives, which does not stand before it; "
                "a task takes only what earlier ones give"
            )
    return PlannedTask(number, str(name), arguments, frozenset(after))


def check_whole(text: str) -> None:
    """Raises PlanInvalid for a plan that was cut off, or has no task."""
    try:
        plan = json.loads(text)
    except ValueError:
        raise PlanInvalid(f"it is cut off at {text[-40:]!r}; write fewer tasks") from None
    if not isinstance(plan, dict) or not plan.get("tasks"):
        raise PlanInvalid("it has no task; write one at least")


def references(value: Any) -> Iterator[int]:
    """The tasks that the texts in a value name, as in `$1`."""
    if isinstance(value, str):
        yield from (int(found) for found in REFERENCE.findall(value))
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from references(item)


def filled(value: Any, results: Mapping[int, Any]) -> Any:
    """The value with results in the place of references: alone it is the result itself."""
    if isinstance(value, str):
        alone = REFERENCE.fullmatch(value)
        if alone is not None:
            return results[int(alone[1])]
        return REFERENCE.sub(lambda found: shown(results[int(found[1])]), value)
    if isinstance(value, list):
        return [filled(item, results) for item in value]
    if isinstance(value, dict):
        return {key: filled(item, results) for key, item in value.items()}
    return value


def _after(number: int, written: Mapping[str, Any]) -> list[int]:
    after = written.get("after", [])
    if not isinstance(after, list) or not all(isinstance(other, int) for other in after):
        raise PlanInvalid(f"`after` of task {number} is no list of task numbers but {after!r}")
    return after


def _task_schema(given: PlanTool, first: int, last: int) -> dict[str, Json]:
    number: dict[str, Json] = {"type": "integer", "minimum": first, "maximum": last}
    arguments = {name: _or_reference(schema) for name, schema in given.parameters.items()}
    listed: dict[str, Json] = {"type": "array", "items": number, "maxItems": 4}
    return _object(
        {
            "id": number,
            "tool": {"const": given.name},
            "arguments": _object(arguments, given.required),
            "after": listed,
        },
        ["id", "tool", "arguments"],
    )


def _or_reference(schema: Mapping[str, Json]) -> Json:
    """A text may hold references anyway."""
    is_text = schema.get("type") == "string" and "enum" not in schema
    return dict(schema) if is_text else {"anyOf": [dict(schema), dict(_REFERENCE_SCHEMA)]}


def _object(properties: Mapping[str, Json], required: Sequence[str]) -> dict[str, Json]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [*required],
        "additionalProperties": False,
    }
