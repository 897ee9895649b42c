"""What the last steps served, and what each request that is listened to has waited for.

step        1     2     3     4     5          a: no seat in 2 and 3, 40 ms behind q1 and q2
in it       q1 q2 q1 q2 q1 q2 q2 a  q2 a
"""

from collections import deque
from collections.abc import Iterator
from collections.abc import Sequence as Items
from itertools import islice

from backends.llm.model.batch import Run
from backends.llm.sequence.sequence import Sequence
from backends.llm.sequence.service_record import PastStep, ServiceRecord
from backends.served import Limit

MOST_KEPT = 512  # steps; a request that missed more is told of the last ones


class ServiceLog:
    """Of one planner. Keeps nothing before the first request that is listened to."""

    def __init__(self) -> None:
        self._steps: deque[PastStep] = deque(maxlen=MOST_KEPT)
        self._number = 0  # steps that ran
        self._is_heard = False

    def add(self, sequence: Sequence) -> None:
        """A sequence waits."""
        if sequence.request.is_heard:
            self._is_heard = True
            sequence.record = ServiceRecord(self._number)

    def note(self, runs: Items[Run], limit: Limit, ended_s: float, elapsed_s: float) -> None:
        """A step ran, and `limit` is what kept others out of it."""
        if not self._is_heard:
            return
        self._number += 1
        for run in runs:
            record = run.sequence.record
            if record is not None:
                record.missed(self._since(record.last_step))
                num_new = run.num_tokens if run.sequence.num_to_prefill else 0
                record.took_part(self._number, num_new, ended_s - elapsed_s)
        queries = frozenset(query_of(run.sequence) for run in runs)
        self._steps.append(PastStep(elapsed_s, limit, queries))

    def preempted(self, victim: Sequence, by: Sequence) -> None:
        """The victim lost its pages."""
        if victim.record is not None:
            victim.record.num_preempted += 1
            victim.record.preempted_by = query_of(by)

    def _since(self, number: int) -> Iterator[PastStep]:
        """The steps before this one, back to that of a number."""
        return islice(reversed(self._steps), self._number - 1 - number)


def query_of(sequence: Sequence) -> str:
    """The query that a sequence is of; of none, its request."""
    place = sequence.request.place
    return sequence.request.id[:8] if place is None else place.query or sequence.request.id[:8]
