"""Static batching: a batch runs until its last sequence ends, then the next one starts.

Here to be compared with. What classical static batching wastes on padding is not counted.
"""

from collections.abc import Iterator
from collections.abc import Sequence as Items
from itertools import takewhile

from backends.llm.planner.policy import Admit, View
from backends.llm.sequence import Sequence


def when_idle(admit: Admit) -> Admit:
    """Like `admit`, but nobody joins a batch after its first step."""

    def admit_idle(sequences: Items[Sequence], view: View, now_s: float) -> Iterator[Sequence]:
        chosen = admit(sequences, view, now_s)
        if not view.num_running:
            yield from chosen
        else:
            yield from takewhile(lambda s: s.is_running, chosen)

    return admit_idle
