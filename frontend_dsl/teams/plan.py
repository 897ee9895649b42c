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

REFERENCE = re.compile(r"\$(\d+)(?!\d|[.,]\d)")  # not a price: $1.50


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """One task of a plan."""

    id: int
    tool: str
    arguments: Mapping[str, Any]
    after: frozenset[int]  # the tasks that it waits for

    def __str__(self) -> str:
        return f"{self.id}. {self.tool}({json.dumps(self.arguments, ensure_ascii=False)})"


def plan_schema(
    tools: Mapping[str, PlanTool], earlier: Sequence[int], most: int
) -> dict[str, Json]:
    """What a plan is held to: at most so many tasks, numbered on from the `earlier` ones. The
    tasks stand in order, each with its number and with references to those before it alone."""
    first = max(earlier, default=0) + 1
    tasks: list[Json] = []
    for number in range(first, first + most):
        before = [*earlier, *range(first, number)]
        forms: list[Json] = [_task_schema(each, number, before) for each in tools.values()]
        tasks.append(forms[0] if len(forms) == 1 else {"anyOf": forms})
    listed: dict[str, Json] = {"type": "array", "prefixItems": tasks, "items": False}
    return _object({"tasks": {**listed, "minItems": 1, "maxItems": most}}, ["tasks"])


def read_task(
    text: str, tools: Mapping[str, PlanTool], known: Sequence[int], last: int
) -> PlannedTask:
    """The task that a JSON text says; `known` are the tasks before it, and what names one behind
    the `last` that there can be is plain text, as $500 is. Raises PlanInvalid."""
    written = json.loads(text)
    if not isinstance(written, dict) or not isinstance(written.get("id"), int):
        raise PlanInvalid(f"{text} is no task: write id, tool and arguments")
    number, name = written["id"], written.get("tool")
    if number in known:
        raise PlanInvalid(f"there are two tasks {number}; number them one after another")
    if not isinstance(name, str) or name not in tools:
        raise PlanInvalid(f"task {number} calls {name!r}; the tools are {', '.join(tools)}")
    arguments = written.get("arguments")
    if not isinstance(arguments, dict):
        raise PlanInvalid(f"the arguments of task {number} are no object but {arguments!r}")
    named = {other for other in references(arguments) if other <= last}
    after = {*named, *_after(number, written)}
    for other in sorted(after):
        if other not in known:
            raise PlanInvalid(
                f"task {number} takes what task {other} gives, which does not stand before it; "
                "a task takes only what earlier ones give"
            )
    return PlannedTask(number, name, arguments, frozenset(after))


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
        if alone is not None and int(alone[1]) in results:
            return results[int(alone[1])]
        return REFERENCE.sub(lambda found: _put_in(found, results), value)
    if isinstance(value, list):
        return [filled(item, results) for item in value]
    if isinstance(value, dict):
        return {key: filled(item, results) for key, item in value.items()}
    return value


def _put_in(found: re.Match[str], results: Mapping[int, Any]) -> str:
    number = int(found[1])
    return shown(results[number]) if number in results else found[0]


def _after(number: int, written: Mapping[str, Any]) -> list[int]:
    after = written.get("after", [])
    if not isinstance(after, list) or not all(isinstance(other, int) for other in after):
        raise PlanInvalid(f"`after` of task {number} is no list of task numbers but {after!r}")
    return after


def _task_schema(given: PlanTool, number: int, before: Sequence[int]) -> dict[str, Json]:
    arguments = {name: _or_reference(each, before) for name, each in given.parameters.items()}
    fields: dict[str, Json] = {
        "id": {"const": number},
        "tool": {"const": given.name},
        "arguments": _object(arguments, given.required),
    }
    if before:
        fields["after"] = {"type": "array", "items": {"enum": [*before]}, "maxItems": 4}
    return _object(fields, ["id", "tool", "arguments"])


def _or_reference(schema: Mapping[str, Json], before: Sequence[int]) -> Json:
    """A text may hold references anyway."""
    is_text = schema.get("type") == "string" and "enum" not in schema
    if is_text or not before:
        return dict(schema)
    return {"anyOf": [dict(schema), {"enum": [f"${number}" for number in before]}]}


def _object(properties: Mapping[str, Json], required: Sequence[str]) -> dict[str, Json]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [*required],
        "additionalProperties": False,
    }
