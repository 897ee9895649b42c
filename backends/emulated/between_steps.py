"""What the embedded engine takes between two steps while work waits, for `fit`.

`Stepper` runs a core without a thread. In an engine, the thread hands over what a step brought and
takes in what came before it begins the next; the loop wants the interpreter at the same time.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from statistics import mean, median
from typing import Any

from backends.base import Request, Result, Tokens
from backends.llm.core import LLMCore
from backends.llm.engine import LLMEngine
from backends.llm.live_requests import Finished

CLIENTS = (2, 4)  # at once; each asks again when it is answered
REQUESTS = 4  # of each client
PROMPT, NUM_DECODED = 32, 24  # tokens

_DISTURBED = 10.0  # times the median: something else stopped the thread


def gaps_between_steps(
    core: LLMCore, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Seconds, some hundred; takes a second or two. The core can be used again."""
    timed = _TimedCore(core, clock)
    asyncio.run(_serve(timed))
    return timed.gaps


def typical_gap_s(gaps: Sequence[float]) -> float:
    """The mean of all but the disturbed; 0 of none."""
    if not gaps:
        return 0.0
    most = _DISTURBED * median(gaps)
    return mean(gap for gap in gaps if gap <= most)


class _TimedCore:
    """A core that notes the seconds from each step to the next, while there is work."""

    def __init__(self, core: LLMCore, clock: Callable[[], float]) -> None:
        self.gaps: list[float] = []
        self._core = core
        self._clock = clock
        self._ended_s: float | None = None  # of the last step, unless the engine may rest now

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def step(self) -> Finished:
        if self._ended_s is not None:
            self.gaps.append(self._clock() - self._ended_s)
        finished = self._core.step()
        self._ended_s = self._clock() if self._core.has_work else None
        return finished

    def close(self) -> None:
        """The engine closes; the core goes on."""


async def _serve(core: Any) -> None:
    engine = LLMEngine("measured", max(CLIENTS), lambda: core)
    await engine.start()
    try:
        for clients in CLIENTS:
            await asyncio.gather(*(_ask(engine, number) for number in range(clients)))
    finally:
        await engine.close()


async def _ask(engine: LLMEngine, client: int) -> None:
    attrs = {"max_tokens": NUM_DECODED, "ignore_eos": True}
    for number in range(REQUESTS):
        ids = tuple(range(1 + client, 1 + client + PROMPT))
        name = f"{client:016x}{number:016x}"
        request = Request(name, "decode", (None, Tokens(ids)), attrs, emit=_nothing)
        (outcome,) = await engine.execute([request])
        if not isinstance(outcome, Result):
            raise outcome
        outcome.outputs[1].release()


def _nothing(text: str) -> None:
    """Pieces of text are told, as to an app that streams them."""
