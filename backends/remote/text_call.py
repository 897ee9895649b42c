"""One request for text, checked: what every text dialect writes its body from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from backends.base import Request
from backends.errors import RequestRejected
from backends.llm.sampling import Sampling, sampling_from
from backends.remote.messages import Prompt
from backends.remote.text_context import TextContext, kept

_APART = frozenset(("adapter", "cache_salt", "tools", "tool_choice"))
_NEUTRAL = Sampling()
_CHOICES = ("auto", "none", "required")


@dataclass(frozen=True, slots=True)
class Tool:
    """What the model may call."""

    name: str
    description: str
    parameters: Mapping[str, Any]  # JSON schema

    @property
    def function(self) -> dict[str, Any]:
        """As OpenAI and Ollama write it."""
        about = {"description": self.description} if self.description else {}
        return {"name": self.name, **about, "parameters": dict(self.parameters)}


@dataclass(frozen=True, slots=True)
class TextCall:
    """A decode or a generate."""

    id: str
    prompt: Prompt
    sampling: Sampling
    given: frozenset[str]  # names of attributes that the caller wrote
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    adapter: str | None = None
    cache_salt: str | None = None
    priority: int = 0

    @property
    def changed(self) -> dict[str, Any]:
        """Sampling attributes that are not at the value which says nothing."""
        values = {field.name: getattr(self.sampling, field.name) for field in fields(Sampling)}
        return {name: v for name, v in values.items() if v != getattr(_NEUTRAL, name)}

    @property
    def schema(self) -> Any:
        """The JSON schema, read; None without one."""
        if self.sampling.schema is None:
            return None
        try:
            return json.loads(self.sampling.schema)
        except ValueError as error:
            raise RequestRejected(f"schema is not JSON: {error}") from error


def read_call(request: Request, prompt: Prompt, parent: TextContext | None) -> TextCall:
    """The request's attributes. Raises RequestRejected, which names the wrong one."""
    attrs = {name: value for name, value in request.attrs.items() if value is not None}
    sampling = sampling_from({name: v for name, v in attrs.items() if name not in _APART})
    if sampling.n > 1 and request.emit is not None:
        raise RequestRejected("n samples cannot be streamed as one; stream n decodes")
    tools = _tools(attrs.get("tools", ()))
    return TextCall(
        id=request.id,
        prompt=prompt,
        sampling=sampling,
        given=frozenset(attrs),
        tools=tools,
        tool_choice=_tool_choice(attrs.get("tool_choice", "auto"), tools),
        adapter=kept(request, parent, "adapter"),
        cache_salt=kept(request, parent, "cache_salt"),
        priority=request.priority,
    )


def _tools(given: object) -> tuple[Tool, ...]:
    if isinstance(given, str | Mapping) or not isinstance(given, Sequence):
        raise RequestRejected(f"tools must be a list of tools, not {given!r}")
    return tuple(_tool(tool) for tool in given)


def _tool(given: object) -> Tool:
    known = {"name", "description", "parameters"}
    if not isinstance(given, Mapping) or not given.keys() <= known:
        raise RequestRejected(f"tools: {given!r} must have {', '.join(sorted(known))} and no more")
    name, parameters = given.get("name"), given.get("parameters")
    if not isinstance(name, str) or not name:
        raise RequestRejected(f"tools: {given!r} has no name")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise RequestRejected(f"tools: the parameters of {name!r} must be a JSON schema")
    empty = {"type": "object", "properties": {}}
    return Tool(name, given.get("description") or "", parameters or empty)


def _tool_choice(given: object, tools: Sequence[Tool]) -> str:
    names = [tool.name for tool in tools]
    if given not in (*_CHOICES, *names) or (given not in ("auto", "none") and not tools):
        have = ", ".join(names) or "no tools"
        raise RequestRejected(
            f"tool_choice must be {', '.join(_CHOICES)} or the name of a tool, not {given!r}; "
            f"there are {have}"
        )
    return str(given)
