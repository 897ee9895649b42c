"""How a request is taken apart into units of work that are remembered, and put together again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from backends.base import Request, Result, Usage
from backends.documents import Doc
from runtime.memo.content import STABLE_MODULES, NoContent, digest
from runtime.memo.fingerprint import fingerprint
from runtime.memo.functions import FunctionVersions

_versions = FunctionVersions()


@dataclass(frozen=True, slots=True)
class Units:
    """A request as units: the key of each, and how to run some of them."""

    keys: tuple[bytes, ...]
    subset: Callable[[Sequence[int]], Request]  # the request that computes these units alone
    values: Callable[[Result], Sequence[Any]]  # of that request's result, one a unit
    result: Callable[[Sequence[Any], Usage], Result]  # of the whole, from the values of all units
    is_stable: bool = True  # the keys mean the same in another process


class Contexts(Protocol):
    """What is known of the content of contexts."""

    def digest_of(self, context: Any) -> bytes:
        """Equal for contexts of equal tokens and adapters. Raises NoContent."""

    def after(self, before: bytes, parts: Sequence[Any], attrs: Mapping[str, Any]) -> bytes:
        """The digest of a context that goes on with these parts."""


# (request, who runs it and for whom, contexts) -> its units; raises NoContent
Rule = Callable[[Request, bytes, Contexts], Units]


def whole(request: Request, owner: bytes, contexts: Contexts) -> Units:  # noqa: ARG001
    """One unit: op, attrs and inputs."""
    key = digest(owner, request.op, dict(request.attrs), list(request.inputs))
    return _one(request, key, lambda value, usage: Result((value,), usage))


def call(request: Request, owner: bytes, contexts: Contexts) -> Units:  # noqa: ARG001
    """A call of a pure function: known by its definition, for a user may change it, or a global
    that it reads."""
    fn = request.attrs["fn"]
    is_stable = _is_stable(fn)
    name = f"{fn.__module__}.{fn.__qualname__}" if is_stable else f"{version_of(fn)}"
    models = [fingerprint(value) for value in request.inputs if _may_be_url(value)]
    key = digest(owner, "call", name, list(request.attrs["kwargs"]), list(request.inputs), models)
    units = _one(request, key, lambda value, usage: Result((value,), usage))
    return replace(units, is_stable=is_stable)


def version_of(fn: Any) -> int:
    """Another one where the function is defined again, or a variable that it reads has changed.
    Raises NoContent."""
    return _versions.of(fn)


def _is_stable(fn: Any) -> bool:
    """Whether its name says what it is: a function of ours, at the top of its module."""
    is_ours = str(getattr(fn, "__module__", "")).startswith(STABLE_MODULES)
    return is_ours and "<" not in getattr(fn, "__qualname__", "<")


def _may_be_url(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("local:")


def texts(request: Request, owner: bytes, contexts: Contexts) -> Units:
    """An embedding: each text of a list by itself, equal ones once."""
    (value,) = request.inputs
    owner = digest(owner, "embed", dict(request.attrs))
    if not isinstance(value, (list, tuple)):
        return replace(whole(request, owner, contexts), keys=(_text_key(owner, value),))
    if not value:
        raise NoContent("there is nothing to embed: the engine says what that gives")

    def subset(indices: Sequence[int]) -> Request:
        chosen = [value[i] for i in indices]
        return replace(request, inputs=(chosen,), num_items=max(1, len(chosen)))

    def result(rows: Sequence[Any], usage: Usage) -> Result:
        return Result((np.stack(rows),), usage)

    keys = tuple(_text_key(owner, item) for item in value)
    return Units(keys, subset, lambda found: list(found.outputs[0]), result)


def written(request: Request, owner: bytes, contexts: Contexts) -> Units:
    """A decode whose context nobody reads: the text, and why it ended."""
    before, *parts = request.inputs
    return _text(request, owner, contexts, before, parts, no_context=(None,))


def generated(request: Request, owner: bytes, contexts: Contexts) -> Units:
    """A whole prompt: the text of a decode on the same parts, and why it ended."""
    return _text(request, owner, contexts, None, request.inputs, no_context=())


def _text(
    request: Request,
    owner: bytes,
    contexts: Contexts,
    before: Any,
    parts: Sequence[Any],
    no_context: tuple[None, ...],
) -> Units:
    attrs = dict(request.attrs)
    if "n" in attrs:
        raise NoContent("several samples of one decode are not remembered")
    context = contexts.after(contexts.digest_of(before), parts, attrs)
    key = digest(owner, "decode", attrs, context)

    def values(found: Result) -> Sequence[Any]:
        return [[found.outputs[0], found.finish_reason]]

    def result(found: Sequence[Any], usage: Usage) -> Result:
        ((text, finish_reason),) = found
        return Result((text, *no_context), usage, finish_reason)

    return Units((key,), lambda _: request, values, result)


def _one(request: Request, key: bytes, result: Callable[[Any, Usage], Result]) -> Units:
    return Units(
        (key,),
        lambda _: request,
        lambda found: [found.outputs[0]],
        lambda values, usage: result(values[0], usage),
    )


def _text_key(owner: bytes, item: Any) -> bytes:
    if not isinstance(item, (str, Doc)):  # the engine says what is wrong with it
        raise NoContent("an embedding is one of a text or a document")
    return digest(owner, item if isinstance(item, str) else item.text)
