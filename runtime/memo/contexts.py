"""The content of LLM contexts: a chain of digests over the parts that made them.

One digest a part, not one a prefill: so a prompt that was cut into several prefills has the content
of the same prompt prefilled whole. After a sampled text it is unknown: what was drawn is not said
by the request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from backends.base import Request, Result
from runtime.memo.content import NoContent, digest

_EMPTY = b"empty"
_KEPT_WITH = (
    "adapter",
    "cache_salt",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "fusion",
)


class ContextContents:
    """Remembers what each live context holds."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Any, bytes] = WeakKeyDictionary()

    def digest_of(self, context: Any) -> bytes:
        """Raises NoContent for a context that did not come through here."""
        found = _EMPTY if context is None else self._known.get(context)
        if found is None:
            raise NoContent("nothing is known of the context's content")
        return found

    def after(self, before: bytes, parts: Sequence[Any], attrs: Mapping[str, Any]) -> bytes:
        for part in parts:
            before = digest(before, part, [attrs.get(name) for name in _KEPT_WITH])
        return before

    def note(self, request: Request, result: Result) -> None:
        """Remember what the context that the request made holds, where that can be told."""
        before, *parts = request.inputs
        try:
            content = self.after(self.digest_of(before), parts, request.attrs)
            self._known[result.outputs[0]] = content
        except TypeError:  # no content, or a context that cannot be referred to weakly
            return
