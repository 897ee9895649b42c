"""What a primitive was given, as a digest that is the same in every process.

Unlike the memo's keys it knows contexts behind a sampled text, since that text is kept, and tells
functions by their code and what it reads. Of an engine it knows what the run calls it: the run may
go on with another one in its place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from backends.base import Context, Request
from graph_opt.ops import OPS
from runtime.memo.content import NoContent
from runtime.memo.functions import MAX_KNOWN
from runtime.memo.rules import version_of
from runtime.run_store.code_content import code_content, code_of
from runtime.run_store.restored import RestoredContext, texts_of
from runtime.run_store.values import NotStorable, encode

DIGEST_BYTES = 20
_EMPTY = b"empty"
_KEPT = ("adapter", "cache_salt", "fusion", "parallel_tool_calls", "tool_choice", "tools")


class Contents:
    """Of one run. Used on the engines' loop."""

    def __init__(self) -> None:
        self._contexts: WeakKeyDictionary[Any, bytes] = WeakKeyDictionary()

    def of(
        self,
        request: Request,
        engines: Sequence[str],
        place: str,
        *,
        with_code: bool,
        is_asked: bool = False,
    ) -> bytes:
        """The digest of a request to these engines; empty where a value of it cannot be told. With
        the code of the function that it calls, a call of the changed function is another; where it
        cannot be told what that code reads, the place belongs to it. Who `is_asked` is no part of a
        question: a terminal, a function, or nobody until later."""
        left_out = ("fn",) if is_asked else ()
        try:
            attrs = {
                name: _told(value, place if with_code else None)
                for name, value in request.attrs.items()
                if name not in left_out
            }
            inputs = [self._input(value) for value in request.inputs]
            return digest(encode([request.op, attrs, inputs, *engines]))
        except NotStorable:
            return b""

    def note(self, request: Request, outputs: Sequence[Any]) -> None:
        """Remember what the contexts hold that a request gave."""
        made = [*_contexts_in(outputs)]
        for context, text in zip(made, texts_of(outputs, len(made)), strict=True):
            try:
                self._contexts[context] = self.after(request, text)
            except TypeError:  # no content, or a context that cannot be referred to weakly
                return

    def after(self, request: Request, text: Any) -> bytes:
        """What a context holds after a request, and the text that the model wrote. Raises
        NotStorable."""
        first = request.inputs[0] if request.inputs else None
        before = _EMPTY if first is None else self._of_context(first)
        given = encode([*parts_of(request), kept_attrs(request.attrs)])
        return digest(before, given, encode(text))

    def _of_context(self, context: Any) -> bytes:
        if isinstance(context, RestoredContext):
            return context.content
        try:
            return self._contexts[context]
        except (KeyError, TypeError):
            raise NotStorable("nothing is known of what the context holds") from None

    def _input(self, value: Any) -> Any:
        return ["context", self._of_context(value).hex()] if is_context(value) else value


def digest(*parts: bytes) -> bytes:
    found = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        found.update(b"%d:" % len(part))
        found.update(part)
    return found.digest()


def kept_attrs(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a request that belong to the context which it leaves."""
    return {name: attrs[name] for name in _KEPT if name in attrs}


_is_context: dict[type, bool] = {}


def is_context(value: Any) -> bool:
    kind = type(value)
    if kind not in _is_context:  # asked once a type: the check is slow
        _is_context[kind] = isinstance(value, Context)
    return _is_context[kind]


def _contexts_in(outputs: Sequence[Any]) -> Sequence[Any]:
    last = outputs[-1] if outputs else None
    several = last if isinstance(last, list) else [last]
    return [value for value in several if is_context(value)]


def parts_of(request: Request) -> Sequence[Any]:
    """The parts of the prompt behind the context of a request."""
    return () if OPS[request.op].prompt_from is None else request.inputs[1:]


def _told(value: Any, place: str | None) -> Any:
    if not callable(value):
        return value
    function = getattr(value, "__func__", value)
    name = getattr(function, "__qualname__", type(value).__qualname__)
    return ["function", name, b"" if place is None else _code(value, place)]


_codes: dict[int, bytes] = {}  # by the version of the function


def _code(function: Any, place: str) -> bytes:
    """What a function is, whatever it is called: its code and what that reads."""
    try:
        version = version_of(function)
        if version not in _codes:
            while len(_codes) >= MAX_KNOWN:
                _codes.pop(next(iter(_codes)), None)
            _codes[version] = digest(code_content(function))
        return _codes[version]
    except (NoContent, NotStorable):
        code = getattr(function, "__code__", None)
        return digest(place.encode(), b"" if code is None else encode(code_of(code)))
