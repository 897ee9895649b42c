"""What runs in the next step: all decodes, then prefill chunks under a token budget.

First come, first served. When pages run out the newest running sequence makes room and is computed
again later; the oldest can thus always finish.
"""

from bisect import insort
from dataclasses import dataclass, field

from backends.llm.batch import Run
from backends.llm.kv_cache import KVCache, PageTable
from backends.llm.sequence import Sequence


@dataclass(slots=True)
class Step:
    """A choice: runs to compute, and prefills that need no computing at all."""

    budget: int
    runs: list[Run] = field(default_factory=list)
    ready: list[Sequence] = field(default_factory=list)
    has_preempted: bool = False

    @property
    def sequences(self) -> list[Sequence]:
        """All that take part: whoever may hold pages that this step is to write."""
        return [*(run.sequence for run in self.runs), *self.ready]


class Scheduler:
    """Both queues are in order of arrival, and all running arrived before all waiting."""

    def __init__(self, cache: KVCache, token_budget: int, max_running: int) -> None:
        self.cache = cache
        self.token_budget = token_budget
        self.max_running = max_running
        self.running: list[Sequence] = []
        self.waiting: list[Sequence] = []
        self.num_preemptions = 0

    def add(self, sequence: Sequence) -> None:
        insort(self.waiting, sequence, key=lambda s: s.arrival)

    def remove(self, sequence: Sequence) -> None:
        """Take a finished or aborted sequence out; its table stays as it is."""
        queue = self.running if sequence in self.running else self.waiting
        queue.remove(sequence)

    def schedule(self) -> Step:
        """Choose a step and reserve its pages."""
        step = Step(self.token_budget)
        decoding = [s for s in self.running if s.is_decoding]
        prefilling = [s for s in self.running if not s.is_decoding]
        for sequence in decoding + prefilling:
            if sequence in self.running and step.budget > 0:  # not preempted meanwhile
                self._place(sequence, step)
        while self._may_admit(step):
            self._admit(self.waiting.pop(0), step)
        return step

    def _may_admit(self, step: Step) -> bool:
        has_room = len(self.running) < self.max_running and step.budget > 0
        return bool(self.waiting) and has_room and not step.has_preempted

    def _admit(self, sequence: Sequence, step: Step) -> None:
        """Start a sequence on its parent's pages and whatever the tree has of the rest."""
        if sequence.parent is not None:
            sequence.table = self.cache.fork(sequence.parent.table)
        else:
            sequence.table = PageTable()
        self.running.append(sequence)
        self._place(sequence, step)

    def _place(self, sequence: Sequence, step: Step) -> None:
        if not sequence.is_decoding:
            self._find_cached(sequence)
        if not sequence.num_to_compute:
            step.ready.append(sequence)
            return
        num_tokens = min(step.budget, sequence.num_to_compute)
        end = sequence.table.num_computed + num_tokens
        if self._make_room(sequence, end, step):
            self.cache.publish(sequence.table, sequence.ids, end)
            wants_logits = sequence.generation is not None and end == len(sequence.ids)
            step.runs.append(Run(sequence, num_tokens, int(wants_logits)))
            step.budget -= num_tokens

    def _find_cached(self, sequence: Sequence) -> None:
        known = max(sequence.table.num_computed, sequence.num_known)
        self.cache.match(sequence.table, sequence.ids[:-1])
        if not sequence.was_preempted:  # what it finds of its own pages is no saving
            sequence.num_cached += max(0, sequence.table.num_computed - known)

    def _make_room(self, sequence: Sequence, num_tokens: int, step: Step) -> bool:
        """Reserve pages, taking them from newer sequences if need be. When the sequence is itself
        the newest it steps back, and False is returned."""
        while not self.cache.reserve(sequence.table, num_tokens):
            victim = self.running[-1]
            self._preempt(victim, step)
            if victim is sequence:
                return False
        return True

    def _preempt(self, victim: Sequence, step: Step) -> None:
        # Newer than whoever asks, so at most a decode was planned for it: never a chunk, whose
        # pages others may share already.
        planned = [run for run in step.runs if run.sequence is victim]
        assert all(run.num_tokens == 1 for run in planned), "a planned chunk"
        step.runs = [run for run in step.runs if run.sequence is not victim]
        self.cache.publish(victim.table, victim.ids, victim.table.num_computed)
        self.cache.drop(victim.table)
        self.running.remove(victim)
        self.add(victim)
        victim.was_preempted = True
        step.has_preempted = True
        self.num_preemptions += 1
