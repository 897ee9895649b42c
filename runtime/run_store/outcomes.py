"""What a primitive gave, as bytes: its values, without the KV of its contexts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backends.base import Request, Result, Usage
from runtime.run_store.contents import Contents, is_context, kept_attrs, parts_of
from runtime.run_store.restored import RestoredContext, Step
from runtime.run_store.values import decode, encode


@dataclass(frozen=True, slots=True)
class Kept:
    """A result, and the steps that lead to the contexts among its outputs, which come last."""

    values: Sequence[Any]
    finish_reason: Any
    num_contexts: int | None  # None: no output is one; 0: one is; else a list of so many is

    def result(self, request: Request, contexts: Sequence[Any]) -> Result:
        """With these contexts."""
        last: tuple[Any, ...] = ()
        if self.num_contexts is not None:
            last = (list(contexts),) if self.num_contexts else (contexts[0],)
        usage = Usage(remembered_items=request.num_items)
        return Result((*self.values, *last), usage, self.finish_reason)

    def steps(self, request: Request) -> list[Step]:
        """What each context has more than that of the request."""
        if self.num_contexts is None:
            return []
        parts, attrs = tuple(parts_of(request)), kept_attrs(request.attrs)
        if not self.values:
            return [Step(parts, attrs)]
        texts = self.values[0] if self.num_contexts else [self.values[0]]
        return [Step((*parts, text), attrs) for text in texts]

    def restored(self, request: Request, contents: Contents) -> Result | None:
        """With contexts that are computed when they are read; None where that of the request is
        really there, which nobody keeps until then."""
        steps = self.steps(request)
        before = request.inputs[0] if steps and request.inputs else None
        if before is not None and not isinstance(before, RestoredContext):
            return None
        known = () if before is None else before.steps
        texts = [step.parts[-1] if self.values else None for step in steps]
        contexts = [
            RestoredContext([*known, step], contents.after(request, text))
            for step, text in zip(steps, texts, strict=True)
        ]
        return self.result(request, contexts)


def encode_result(result: Result) -> bytes:
    """Raises NotStorable."""
    outputs = result.outputs
    last = outputs[-1] if outputs else None
    num_contexts: int | None = None
    if is_context(last):
        num_contexts, outputs = 0, outputs[:-1]
    elif isinstance(last, list) and last and all(map(is_context, last)):
        num_contexts, outputs = len(last), outputs[:-1]
    return encode([list(outputs), result.finish_reason, num_contexts])


def decode_result(data: bytes) -> Kept:
    """Raises NotStorable."""
    values, finish_reason, num_contexts = decode(data)
    return Kept(values, finish_reason, num_contexts)
