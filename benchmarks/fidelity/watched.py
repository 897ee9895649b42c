"""The steps of the engines that are made meanwhile, with their seconds."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from backends.emulated.measure import Measured
from backends.emulated.roofline import Rows
from backends.llm.core import LLMCore
from backends.llm.live_requests import Finished


@contextmanager
def watched_steps() -> Iterator[list[Measured]]:
    steps: list[Measured] = []
    batches: list[Any] = []
    step, launch = LLMCore.step, LLMCore._launch

    def timed_step(core: LLMCore) -> Finished:
        batches.clear()
        began_s = time.perf_counter()
        finished = step(core)
        seconds = time.perf_counter() - began_s
        for runs in batches:
            spans = tuple(Rows(run.num_tokens, run.start + run.num_tokens) for run in runs)
            steps.append(Measured(spans, sum(run.num_logits for run in runs), seconds))
        return finished

    def watched_launch(core: LLMCore, planned: Any) -> Any:
        if planned.runs:
            batches.append(list(planned.runs))
        return launch(core, planned)

    with (
        patch.object(LLMCore, "step", timed_step),
        patch.object(LLMCore, "_launch", watched_launch),
    ):
        yield steps
