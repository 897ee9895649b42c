"""A context that an earlier process held: what it was made of, computed again when it is read.

Its KV is gone. While a run only repeats what is kept nobody needs it; the first request that goes
to the engine with it has the whole prompt prefilled, kept texts of the model included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backends.base import Context, Outcome, Part, Result

Prefill = Callable[[Any, "Step", Callable[[Outcome], None]], None]  # before, step, then


@dataclass(frozen=True, slots=True)
class Step:
    """Parts that were prefilled or written, under attrs of the context."""

    parts: tuple[Part, ...]
    attrs: Mapping[str, Any]


class RestoredContext:
    """Stands for a context. Used on the engines' loop."""

    def __init__(self, steps: Sequence[Step], content: bytes) -> None:
        self.steps = _joined(steps)
        self.content = content
        self._real: Context | None = None
        self._waiting: list[Callable[[Outcome], None]] = []
        self._is_released = False

    @property
    def num_tokens(self) -> int:
        return 0 if self._real is None else self._real.num_tokens

    def release(self) -> None:
        self._is_released = True
        real, self._real = self._real, None
        if real is not None:
            real.release()

    def make(self, prefill: Prefill, then: Callable[[Outcome], None]) -> None:
        """Tell the real one, which `prefill` computes step by step, or why it cannot be had."""
        if self._real is not None:
            then(Result((self._real,)))
            return
        self._waiting.append(then)
        if len(self._waiting) == 1:
            self._go_on(prefill, None, self.steps)

    def _go_on(self, prefill: Prefill, before: Any, steps: Sequence[Step]) -> None:
        def done(outcome: Outcome) -> None:
            if before is not None:
                before.release()
            if isinstance(outcome, Result) and steps[1:]:
                self._go_on(prefill, outcome.outputs[0], steps[1:])
            else:
                self._made(outcome)

        prefill(before, steps[0], done)

    def _made(self, outcome: Outcome) -> None:
        if isinstance(outcome, Result):
            self._real = outcome.outputs[0]
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then(outcome)
        if self._is_released:
            self.release()


def _joined(steps: Sequence[Step]) -> list[Step]:
    """Steps under the same attrs as one prefill."""
    made: list[Step] = []
    for step in steps:
        if made and (made[-1].attrs == step.attrs or not step.attrs):
            made[-1] = Step((*made[-1].parts, *step.parts), made[-1].attrs)
        else:
            made.append(step)
    return made


def texts_of(outputs: Sequence[Any], num: int) -> Sequence[Any]:
    """The texts that the model wrote into each of `num` contexts; None where it wrote none."""
    if len(outputs) < 2:
        return [None] * num
    return outputs[0] if isinstance(outputs[0], list) else [outputs[0]] * num
