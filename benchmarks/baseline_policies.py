"""Batch policies to compare with: what engines did before continuous batching with chunks.

whole    continuous batching as in Orca (OSDI 2022): a prompt is never cut into chunks, so a
         long one stalls all decodes while it is prefilled
static   a batch runs until its last sequence ends, then the next one starts. The padding of
         classical static batching is not simulated
"""

from collections.abc import Iterator
from collections.abc import Sequence as Items
from dataclasses import replace

from backends.llm.planner.policy import Admit, Policy, View
from backends.llm.sequence.sequence import Sequence


def whole(policy: Policy) -> Policy:
    """The policy, with prompts computed whole."""
    return replace(policy, budget=_unbounded)


def static(policy: Policy) -> Policy:
    """`whole`, and no sequence joins a batch after its first step."""
    return replace(whole(policy), admit=_when_idle(policy.admit))


BASELINES = {"whole": whole, "static": static}


def _unbounded(sequences: Items[Sequence], view: View, now_s: float) -> int:  # noqa: ARG001
    return 1 << 30


def _when_idle(admit: Admit) -> Admit:
    def admit_idle(sequences: Items[Sequence], view: View, now_s: float) -> Iterator[Sequence]:
        chosen = admit(sequences, view, now_s)
        if not view.num_running:
            yield from chosen
        else:
            yield from (sequence for sequence in chosen if sequence.is_running)

    return admit_idle
