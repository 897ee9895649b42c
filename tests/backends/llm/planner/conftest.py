"""A real core over a fake model, in virtual time: 10 ms a step and 1 ms a token."""

from collections.abc import Callable
from typing import Any

import pytest

from backends.base import Request
from backends.fake.paged_model import PagedModel
from backends.llm.model.batch import StepBatch
from backends.llm.planner.planner import Step
from backends.llm.planner.policy import View
from backends.llm.sequence.sequence import Sequence
from benchmarks.replay import Arrival, VirtualClock, request_of, virtual_core


def step_s(batch: StepBatch) -> float:
    return 0.010 + 0.001 * len(batch.tokens)


class Engine:
    """Steps a core by hand and keeps what the planner chose."""

    def __init__(self, **options: Any) -> None:
        self.clock = VirtualClock()
        self.core = virtual_core(PagedModel(), self.clock, step_s, **options)
        self.planner = self.core.planner
        self.steps: list[Step] = []
        self.finished: list[str] = []
        self.num_added = 0
        note = self.planner.note

        def keep(step: Step, elapsed_s: float) -> None:
            self.steps.append(step)
            note(step, elapsed_s)

        self.planner.note = keep  # type: ignore[method-assign]

    def add(
        self,
        prompt: int | list[int],
        num_output: int = 8,
        is_heard: bool = False,
        **named: Any,
    ) -> Sequence:
        """A decode; an int stands for a prompt of so many tokens that shares no page."""
        self.num_added += 1
        ids = [self.num_added] * prompt if isinstance(prompt, int) else prompt
        arrival = Arrival(self.clock(), ids, num_output, **named)
        request: Request = request_of(arrival, f"{self.num_added:032x}")
        request.is_heard = is_heard
        self.core.add(request)
        return self.planner.waiting[-1]

    def step(self, count: int = 1) -> Step:
        for _ in range(count):
            self.finished += [request.id for request, _ in self.core.step()]
            self.core.check_integrity()
        return self.steps[-1]

    def run(self) -> None:
        for _ in range(20_000):
            if not self.core.has_work:
                return
            self.step()
        raise AssertionError("the core never finished")

    def tokens(self, sequence: Sequence) -> int:
        """How many of the last step's tokens were the sequence's."""
        return sum(run.num_tokens for run in self.steps[-1].runs if run.sequence is sequence)

    @property
    def view(self) -> View:
        return self.planner.view()


@pytest.fixture(scope="session")
def engine() -> Callable[..., Engine]:
    return Engine
