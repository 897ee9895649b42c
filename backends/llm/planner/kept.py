"""All sequences in the order of a key, kept from step to step instead of sorted at each.

A step costs O(log n) for each sequence that comes, ends or gets another key. Of what waits only the
first are read: a step takes fewer.
"""

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from itertools import islice
from typing import Any

from backends.llm.planner.policy import Changes, View
from backends.llm.sequence.sequence import Sequence
from backends.policy.sorted_items import SortedItems

MOST_ORDERED = 128  # of those that wait; at least four times as many as run


class Kept:
    """An `Order`: what runs, then the first of what waits, each by key; larger priorities first
    among what waits. The oldest of all is there too."""

    def __init__(self, key: Callable[[Sequence], Any]) -> None:
        """No two keys are equal, and none changes."""
        self._key = key
        self._line: SortedItems[Sequence] = SortedItems()  # by priority, then by key
        self._last_step = -1

    def __call__(self, sequences: Items[Sequence], view: View, now_s: float) -> Items[Sequence]:
        self._keep_up(sequences, view, now_s)
        running = sequences[: view.num_running]
        waiting = list(islice(self._waiting(), max(MOST_ORDERED, 4 * view.max_running)))
        return _with_oldest([*sorted(running, key=self._key), *waiting], sequences, view)

    def _waiting(self) -> Iterator[Sequence]:
        return (sequence for sequence in self._line if not sequence.is_running)

    def _keep_up(self, sequences: Items[Sequence], view: View, now_s: float) -> None:  # noqa: ARG002
        changes = view.changes
        if changes is None or changes.step != self._last_step + 1:
            changes = self._found(sequences, view)
        self._last_step = changes.step
        for sequence in changes.left:
            self._remove(sequence)
        for sequence in changes.ran:
            self._ran(sequence)
        for sequence in changes.joined:
            self._place(sequence)

    def _place(self, sequence: Sequence) -> None:
        self._line.put(sequence, (-sequence.request.priority, self._key(sequence)))

    def _ran(self, sequence: Sequence) -> None:
        """Its key may have changed."""

    def _remove(self, sequence: Sequence) -> None:
        self._line.remove(sequence)

    def _found(self, sequences: Items[Sequence], view: View) -> Changes:
        """What is new since this order saw all the last time, perhaps some steps ago."""
        present = set(sequences)
        return Changes(
            -1 if view.changes is None else view.changes.step,
            {sequence: None for sequence in sequences if sequence not in self._line},
            [sequence for sequence in self._line if sequence not in present],
            {sequence: None for sequence in sequences if sequence in self._line},
        )


class KeptByLevel(Kept):
    """What runs and what waits in one line, by a level that grows as a sequence runs. One that has
    not run for `patience_s` goes before all others of its priority."""

    def __init__(self, level: Callable[[Sequence], int], patience_s: float) -> None:
        super().__init__(lambda sequence: (level(sequence), sequence.arrival))
        self._patience_s = patience_s
        self._by_last: SortedItems[Sequence] = SortedItems()  # those that ran lately

    def __call__(self, sequences: Items[Sequence], view: View, now_s: float) -> Items[Sequence]:
        self._keep_up(sequences, view, now_s)
        behind = dict.fromkeys(sequences[: view.num_running])
        num_waiting = max(MOST_ORDERED, 4 * view.max_running)
        ordered = []
        for sequence in self._line:
            if sequence in behind:
                del behind[sequence]
            elif num_waiting:
                num_waiting -= 1
            else:
                break
            ordered.append(sequence)
        ordered += sorted(behind, key=self._line.key)
        return _with_oldest(ordered, sequences, view)

    def _keep_up(self, sequences: Items[Sequence], view: View, now_s: float) -> None:
        super()._keep_up(sequences, view, now_s)
        while self._by_last and now_s - self._by_last[0].service.last_s >= self._patience_s:
            overdue = self._by_last[0]
            self._by_last.remove(overdue)
            self._line.put(overdue, (-overdue.request.priority, (-1, overdue.arrival)))

    def _place(self, sequence: Sequence) -> None:
        super()._place(sequence)
        self._by_last.put(sequence, (sequence.service.last_s, sequence.arrival))

    def _ran(self, sequence: Sequence) -> None:
        self._place(sequence)

    def _remove(self, sequence: Sequence) -> None:
        super()._remove(sequence)
        if sequence in self._by_last:
            self._by_last.remove(sequence)


def _with_oldest(
    ordered: list[Sequence], sequences: Items[Sequence], view: View
) -> Items[Sequence]:
    """Those that run and those that wait are each by arrival."""
    firsts = [*sequences[:1], *sequences[view.num_running : view.num_running + 1]]
    oldest = min(firsts, key=lambda sequence: sequence.arrival, default=None)
    if oldest is not None and not oldest.is_running and oldest not in ordered:
        ordered.append(oldest)
    return ordered
