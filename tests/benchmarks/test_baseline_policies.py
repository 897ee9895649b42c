"""The policies that the engine's own are compared with."""

from backends.fake.paged_model import PagedModel
from backends.llm.core import LLMCore
from backends.llm.model.batch import StepBatch
from benchmarks.replay import Arrival, Served, VirtualClock, replay, virtual_core


def served(arrivals: list[Arrival], **options: object) -> tuple[list[Served], list[int]]:
    """What became of them, and the tokens of each step."""
    clock, sizes = VirtualClock(), []

    def step_s(batch: StepBatch) -> float:
        sizes.append(len(batch.tokens))
        return 0.01

    core: LLMCore = virtual_core(PagedModel(), clock, step_s, **options)
    return replay(core, clock, arrivals), sizes


def test_whole_prompts_are_never_cut() -> None:
    arrivals = [Arrival(0.0, [1] * 4, 9), Arrival(0.02, [2] * 300, 2)]
    _, cut = served(arrivals, token_budget=16)
    assert max(cut) == 16
    _, uncut = served(arrivals, token_budget=16, policy="whole")
    assert max(uncut) == 1 + 300


def test_a_static_batch_lets_nobody_join() -> None:
    arrivals = [Arrival(0.0, [n] * 4, n) for n in (2, 6, 3)]
    found, _ = served(arrivals, max_running=2)
    assert found[2].token_s[0] < found[1].token_s[-1]
    found, _ = served(arrivals, max_running=2, policy="static")
    assert found[2].token_s[0] > found[1].token_s[-1]
