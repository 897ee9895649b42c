"""A context that is text kept by the client: the parts so far. The server has nothing of it."""

from collections.abc import Iterable
from dataclasses import dataclass

from backends.base import Chunk, Part, Request, Turn
from backends.errors import RequestRejected
from backends.tool_calls.tools import Toolset, choose_tools

_CHARS_PER_TOKEN = 4  # of English text, roughly
_TURN_TOKENS = 4  # markup of a turn in the usual templates


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class TextContext:
    """Immutable: a request that goes on makes a new one."""

    owner: object  # the engine that made it
    parts: tuple[Part, ...]
    num_tokens: int  # counted by the server up to the last answer; what came later is estimated
    adapter: str | None = None
    cache_salt: str | None = None
    tools: Toolset | None = None
    fusion: str | None = None  # how the server reuses the KV of the chunks among the parts

    def release(self) -> None:
        """Nothing to give up."""


def context_of(request: Request, owner: object) -> TextContext | None:
    """The context that the request goes on from. Raises RequestRejected for another engine's."""
    given = request.inputs[0] if request.inputs else None
    if given is None or (isinstance(given, TextContext) and given.owner is owner):
        return given
    what = "another engine's context" if isinstance(given, TextContext) else repr(given)
    raise RequestRejected(f"the first input must be a context of this engine, not {what}")


def toolset_of(request: Request, parent: TextContext | None) -> Toolset | None:
    """The request's tools, or its context's. Raises RequestRejected."""
    before = None if parent is None else parent.tools
    return choose_tools(request.attrs, before, is_start=parent is None or not parent.parts)


def kept(request: Request, parent: TextContext | None, name: str) -> str | None:
    """`adapter` or `cache_salt`: the request's, or its context's, which no other may follow."""
    is_first = parent is None or not parent.parts
    before: str | None = None if is_first else getattr(parent, name)
    given = request.attrs.get(name)
    if given is not None and (not isinstance(given, str) or not given):
        raise RequestRejected(f"{name} must be a text that is not empty, not {given!r}")
    if not is_first and given is not None and given != before:
        raise RequestRejected(f"{name} {given!r} cannot go on from a context of {before!r}")
    return before if given is None else given


def parts_for(request: Request) -> tuple[Part, ...]:
    """The request's own parts; chunks are texts where it asks for no fusion."""
    parts: tuple[Part, ...] = request.inputs[1:]
    return parts if request.attrs.get("fusion") is not None else as_texts(parts)


def as_texts(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Without chunks."""
    return tuple(str(part) if isinstance(part, Chunk) else part for part in parts)


def estimated_tokens(parts: Iterable[Part]) -> int:
    """Without a tokenizer: by characters and turns."""
    return sum(_TURN_TOKENS if isinstance(part, Turn) else _text_tokens(part) for part in parts)


def _text_tokens(part: Part) -> int:
    return -(-len(part) // _CHARS_PER_TOKEN) if isinstance(part, str) else 0
