"""The steps of the engine that is made meanwhile, with their seconds, and those between them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from backends.emulated.measure import Measured
from backends.emulated.roofline import Rows
from backends.llm.core import LLMCore
from backends.llm.live_requests import Finished


@dataclass(slots=True)
class Watched:
    steps: list[Measured] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)  # from a step to the next, while there is work
    stopped_s: float = 0.0  # of the steps, in which the engine's thread had no core


@contextmanager
def watched_steps() -> Iterator[Watched]:
    watched = Watched()
    ended_s: float | None = None
    batches: list[Any] = []
    step, launch = LLMCore.step, LLMCore._launch

    def timed_step(core: LLMCore) -> Finished:
        nonlocal ended_s
        batches.clear()
        began_s, cpu_s = time.perf_counter(), time.thread_time()
        if ended_s is not None:
            watched.gaps.append(began_s - ended_s)
        finished = step(core)
        seconds = time.perf_counter() - began_s
        watched.stopped_s += seconds - (time.thread_time() - cpu_s)
        for runs in batches:
            spans = tuple(Rows(run.num_tokens, run.start + run.num_tokens) for run in runs)
            watched.steps.append(Measured(spans, sum(run.num_logits for run in runs), seconds))
        ended_s = time.perf_counter() if core.has_work else None
        return finished

    def watched_launch(core: LLMCore, planned: Any) -> Any:
        if planned.runs:
            batches.append(list(planned.runs))
        return launch(core, planned)

    with (
        patch.object(LLMCore, "step", timed_step),
        patch.object(LLMCore, "_launch", watched_launch),
    ):
        yield watched
