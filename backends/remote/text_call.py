"""One request for text, checked: what every text dialect writes its body from."""

import json
from dataclasses import dataclass, fields
from typing import Any

from backends.base import Request
from backends.errors import RequestRejected
from backends.llm.requests.sampling import Sampling, sampling_from
from backends.place import Place
from backends.remote.messages import Prompt
from backends.remote.text_context import TextContext, kept, toolset_of
from backends.tool_calls.tools import Tool, Toolset

_APART = frozenset(("adapter", "cache_salt", "tools", "tool_choice", "parallel_tool_calls"))
_NEUTRAL = Sampling()


@dataclass(frozen=True, slots=True)
class TextCall:
    """A decode or a generate."""

    id: str
    prompt: Prompt
    sampling: Sampling
    given: frozenset[str]  # names of attributes that the caller wrote
    toolset: Toolset | None = None
    adapter: str | None = None
    cache_salt: str | None = None
    priority: int = 0
    place: Place | None = None
    is_heard: bool = False
    fusion: str | None = None  # of a prompt with chunks

    @property
    def tools(self) -> tuple[Tool, ...]:
        return () if self.toolset is None else self.toolset.tools

    @property
    def tool_choice(self) -> str:
        return "auto" if self.toolset is None else self.toolset.choice

    @property
    def is_parallel(self) -> bool:
        """A turn may hold several calls."""
        return self.toolset is None or self.toolset.is_parallel

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
    return TextCall(
        id=request.id,
        prompt=prompt,
        sampling=sampling,
        given=frozenset(attrs),
        toolset=toolset_of(request, parent),
        adapter=kept(request, parent, "adapter"),
        cache_salt=kept(request, parent, "cache_salt"),
        priority=request.priority,
        place=request.place,
        is_heard=request.is_heard,
        fusion=parent.fusion if parent is not None and prompt.has_chunks else None,
    )
