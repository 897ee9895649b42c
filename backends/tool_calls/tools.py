"""The attrs `tools` and `tool_choice`, read and checked."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from backends.errors import RequestRejected
from backends.request_limits import MAX_TOOLS, MAX_TOOLS_CHARS, check_levels, check_size

CHOICES = ("auto", "none", "required")
_EMPTY: Mapping[str, Any] = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class Tool:
    """What the model may call."""

    name: str
    description: str
    parameters: Mapping[str, Any]  # JSON schema

    @property
    def function(self) -> dict[str, Any]:
        """As OpenAI, Ollama and chat templates write it."""
        about = {"description": self.description} if self.description else {}
        return {"name": self.name, **about, "parameters": dict(self.parameters)}


@dataclass(frozen=True)
class Toolset:
    """The tools of a context, and the choice that was named last."""

    tools: tuple[Tool, ...]
    choice: str = "auto"  # "none", "required" or the name of a tool
    is_parallel: bool = True  # a turn may hold several calls

    @cached_property
    def key(self) -> str:
        """Equal for equal tools, whatever the choice."""
        return json.dumps([tool.function for tool in self.tools], ensure_ascii=False)

    @property
    def callable(self) -> tuple[Tool, ...]:
        """Those that the choice allows."""
        if self.choice == "none":
            return ()
        named = tuple(tool for tool in self.tools if tool.name == self.choice)
        return self.tools if self.choice in CHOICES else named

    @property
    def is_call_required(self) -> bool:
        return self.choice not in ("auto", "none")

    @property
    def takes_one_call(self) -> bool:
        """At most: a tool that is named is called once."""
        return not self.is_parallel or self.choice not in ("auto", "required")


def choose_tools(
    attrs: Mapping[str, Any], before: Toolset | None, *, is_start: bool
) -> Toolset | None:
    """The tools that hold for a request: its own, or its context's (`before`), which no other may
    follow. None: decodes give plain text. Raises RequestRejected."""
    given, choice = attrs.get("tools"), attrs.get("tool_choice")
    if given is None and choice is None and attrs.get("parallel_tool_calls") is None:
        return before
    tools = read_tools(given or ())
    if given is None and before is not None:
        tools = before.tools
    elif not is_start and tools and (before is None or Toolset(tools).key != before.key):
        had = "other tools" if before is not None else "no tools"
        raise RequestRejected(
            f"this context was made with {had}, and its prompt cannot be changed: give `tools` to "
            "the prefill that opens the conversation, or prefill the whole prompt with them"
        )
    checked = read_choice("auto" if choice is None else choice, tools)
    return Toolset(tools, checked, _is_parallel(attrs)) if tools else None


def read_tools(given: object) -> tuple[Tool, ...]:
    """Raises RequestRejected, which says what is wrong with which tool."""
    if isinstance(given, str | Mapping) or not isinstance(given, Sequence):
        raise RequestRejected(f"tools must be a list of tools, not {given!r}")
    check_size("tools", len(given), MAX_TOOLS, "items")
    tools = tuple(_tool(tool) for tool in given)
    check_size("tools", len(Toolset(tools).key), MAX_TOOLS_CHARS, "characters together")
    names = [tool.name for tool in tools]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RequestRejected(f"tools: there are two with the name {twice[0]!r}; rename one")
    return tools


def read_choice(given: object, tools: Sequence[Tool]) -> str:
    """Raises RequestRejected for a choice that these tools do not have."""
    names = [tool.name for tool in tools]
    if given not in (*CHOICES, *names) or (given not in ("auto", "none") and not tools):
        have = ", ".join(names) or "no tools"
        raise RequestRejected(
            f"tool_choice must be {', '.join(CHOICES)} or the name of a tool, not {given!r}; "
            f"there are {have}"
        )
    return str(given)


def _is_parallel(attrs: Mapping[str, Any]) -> bool:
    given = attrs.get("parallel_tool_calls")
    if not isinstance(given, bool | None):
        raise RequestRejected(f"parallel_tool_calls must be true or false, not {given!r}")
    return given is not False


def _tool(given: object) -> Tool:
    known = {"name", "description", "parameters"}
    if not isinstance(given, Mapping) or not given.keys() <= known:
        raise RequestRejected(f"tools: {given!r} must have {', '.join(sorted(known))} and no more")
    name, parameters = given.get("name"), given.get("parameters")
    if not isinstance(name, str) or not name:
        raise RequestRejected(f"tools: {given!r} has no name")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise RequestRejected(f"tools: the parameters of {name!r} must be a JSON schema")
    if parameters is not None and parameters.get("type", "object") != "object":
        raise RequestRejected(
            f"tools: the parameters of {name!r} are a JSON schema of {parameters['type']!r}; "
            "arguments are an object"
        )
    check_levels(f"tools: {name!r}", given)
    try:
        json.dumps(given)
    except (TypeError, ValueError) as error:
        raise RequestRejected(f"tools: {name!r} is not JSON: {error}") from error
    return Tool(name, given.get("description") or "", parameters or _EMPTY)
