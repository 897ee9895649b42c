"""Requests for fused prefills."""

from dataclasses import replace

from backends.base import Part, Request
from backends.llm.sequence.sequence import LLMContext


def is_prompt(request: Request) -> bool:
    """Whether its inputs and attributes are of the right kinds; the engine refuses others."""
    context, parts = (request.inputs or (None,))[0], request.inputs[1:]
    is_context = context is None or isinstance(context, LLMContext)
    names = (request.attrs.get(name) for name in ("adapter", "cache_salt"))
    is_named = all(isinstance(name, str | None) for name in names)
    return is_context and is_named and all(isinstance(part, Part) for part in parts)


def from_nothing(request: Request) -> Request:
    """The request without its context, but for whose KV it may be: its adapter's and its tenant's.
    Tools stand before a chunk, not in it."""
    context, *parts = request.inputs
    attrs = {k: v for k, v in request.attrs.items() if k not in ("tools", "tool_choice")}
    if context is not None and context.adapter is not None:
        attrs.setdefault("adapter", context.adapter.name)
    if context is not None and context.salt:
        attrs.setdefault("cache_salt", context.salt)
    return replace(request, inputs=(None, *parts), attrs=attrs)
