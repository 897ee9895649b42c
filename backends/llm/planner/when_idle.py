"""Static batching: a batch runs until its last sequence ends, then the next one starts.

A baseline. The padding of classical static batching is not simulated.
"""

from collections.abc import Iterator
from collections.abc import Sequence as Items
from itertools import takewhile

from backends.llm.planner.policy import Admit, View
from backends.llm.sequence.sequence import Sequence


def when_idle(admit: Admit) -> Admit:
    """Like `admit`, but no sequence joins a batch after its first step."""

    def admit_idle(sequences: Items[Sequence], view: View, now_s: float) -> Iterator[Sequence]:
        chosen = admit(sequences, view, now_s)
        if not view.num_running:
            yield from chosen
        else:
            yield from takewhile(lambda s: s.is_running, chosen)

    return admit_idle
