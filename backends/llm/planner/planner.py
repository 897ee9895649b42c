"""Chooses a step: walks the sequences in the policy's order and gives each tokens of the budget.

Decodes get their tokens first, whatever the order: a prompt's chunk takes only what those behind it
leave over. Pages are reserved in order and taken from later sequences that are not yet in the
step; so the first sequence can always continue, and no planned run is undone.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Items
from dataclasses import dataclass, field, replace
from itertools import islice

from backends.errors import EngineError, EngineOverloaded, EngineUnavailable
from backends.llm.fusion.linker import Linker
from backends.llm.kv.cache import KVCache
from backends.llm.kv.page_table import PageTable
from backends.llm.lora.pool import AdapterPool
from backends.llm.model.batch import Run
from backends.llm.planner.latency import LatencyModel
from backends.llm.planner.policy import Changes, Policy, View
from backends.llm.planner.service_log import ServiceLog
from backends.llm.sequence.sequence import Sequence, ServiceStats
from backends.served import Limit


@dataclass(slots=True)
class Step:
    """Runs to compute, and prefills that need no computing at all."""

    lineup: Items[Sequence] = ()  # all sequences, in the policy's order
    budget: int = 0  # tokens that are left
    runs: list[Run] = field(default_factory=list)
    ready: list[Sequence] = field(default_factory=list)
    refused: list[tuple[Sequence, EngineError]] = field(default_factory=list)  # still in the queue
    num_sequences: int = 0
    num_tokens: int = 0
    num_keys: int = 0  # keys read by all rows together
    is_look: bool = False  # its one run ends at an early layer
    is_closed: bool = False  # no more starts: pages were taken, or are reserved

    @property
    def sequences(self) -> list[Sequence]:
        """All participants: the sequences that may hold pages which this step writes."""
        return [*(run.sequence for run in self.runs), *self.ready]


class BatchPlanner:
    """`running` hold pages, `waiting` hold none; both in order of arrival. A running sequence need
    not be in every step: a policy may let it pause."""

    def __init__(
        self,
        cache: KVCache,
        adapters: AdapterPool,
        policy: Policy,
        token_budget: int,
        max_running: int,
        patience_s: float,
        clock: Callable[[], float],
        latency: LatencyModel,
        linker: Linker,
    ) -> None:
        self.cache = cache
        self.adapters = adapters
        self.policy = policy
        self.token_budget = token_budget
        self.max_running = max_running
        self.patience_s = patience_s
        self.latency = latency
        self.running: list[Sequence] = []
        self.waiting: list[Sequence] = []
        self.num_preemptions = 0
        self._next_look: Sequence | None = None  # which has the next step for itself
        self._clock = clock
        self._log = ServiceLog()
        self._changes = Changes()
        self._linker = linker

    def add(self, sequence: Sequence) -> None:
        """Queue a new sequence."""
        now_s = self._clock()
        known = sequence.parent.table.num_computed if sequence.parent is not None else 0
        num_tokens = sequence.num_to_compute - known
        prefill_s = self.latency.step_s(num_tokens, num_tokens * (known + num_tokens // 2))
        sequence.service = ServiceStats(arrived_s=now_s, last_s=now_s, prefill_s=prefill_s)
        self._log.add(sequence)
        self._changes.join(sequence)
        _insert(self.waiting, sequence)

    def remove(self, sequence: Sequence) -> None:
        """Take a finished or aborted sequence out; its table stays as it is."""
        self._changes.leave(sequence)
        if sequence.is_running:
            self._stop(sequence)
        else:
            _take_out(self.waiting, sequence)
        if not (self.running or self.waiting):
            self._in_order(self._clock())  # else the order holds what ended until somebody comes

    def plan(self) -> Step:
        """Choose a step and reserve its pages."""
        now_s = self._clock()
        line, view = self._in_order(now_s)
        step = Step(line, self.policy.budget(line, view, now_s))
        for sequence in self._admitted(step, view, now_s):
            if self._waits_for_own_step(sequence, step):
                continue
            if sequence.is_running and sequence.is_decoding:
                self._place(sequence, step.budget, step)
            elif (room := step.budget - self._num_decodes(step)) > 0 and (
                sequence.is_running or self._start(sequence, step)
            ):
                self._find_cached(sequence)
                if not sequence.table.is_loading:  # else its KV is on the way, and it waits
                    self._place(sequence, room, step)
            if step.is_look or step.num_sequences == self.max_running or step.budget <= 0:
                break
        return step

    def _in_order(self, now_s: float) -> tuple[Items[Sequence], View]:
        """All sequences in the policy's order, which sees what changed since the last time."""
        view = replace(self.view(), changes=self._changes)
        line = self.policy.order([*self.running, *self.waiting], view, now_s)
        self._changes = Changes(self._changes.step + 1)
        return line, view

    def _admitted(self, step: Step, view: View, now_s: float) -> Iterable[Sequence]:
        """A look that found no place in the last step comes first."""
        look, self._next_look = self._next_look, None
        if look is not None and (look in self.running or look in self.waiting):
            step.lineup = [look, *(s for s in step.lineup if s is not look)]
        return self.policy.admit(step.lineup, view, now_s)

    def _waits_for_own_step(self, sequence: Sequence, step: Step) -> bool:
        """A step that ends at an early layer does so for all of its rows."""
        wants_look = sequence.stage is not None and sequence.stage.look is not None
        if not wants_look or (sequence.is_running and sequence.look is None) or not step.runs:
            return False
        self._next_look = self._next_look or sequence
        return True

    def note(self, step: Step, elapsed_s: float) -> None:
        """Record a finished step in the service statistics that policies read."""
        ended_s = self._clock()
        for run in step.runs:
            self._changes.run(run.sequence)
            run.sequence.service.serve(ended_s, elapsed_s, self.patience_s)
        if step.runs:
            self._log.note(step.runs, self._limit_of(step), ended_s, elapsed_s)
        if step.runs and not step.is_look:
            self.latency.observe(step.num_tokens, step.num_keys, elapsed_s)

    def _limit_of(self, step: Step) -> Limit:
        if step.num_sequences == self.max_running or step.is_look:
            return "seats"
        return "tokens" if step.budget <= 0 else "pages"

    def view(self) -> View:
        """What policies see now."""
        return View(
            self.cache, self.latency, len(self.running), self.max_running, self.token_budget
        )

    def _num_decodes(self, step: Step) -> int:
        """Decodes that are still without a place in the step."""
        placed = {run.sequence for run in step.runs}
        slots = islice(step.lineup, self.max_running)
        return sum(s.is_running and s.is_decoding and s not in placed for s in slots)

    def _start(self, sequence: Sequence, step: Step) -> bool:
        """Begin on the parent's pages; `_place` adds whatever the tree has of the rest."""
        if step.is_closed or not self._lock_adapter(sequence, step):
            return False
        parent = sequence.parent
        if parent is not None and parent.ids:
            self.cache.note_read(parent.table, len(parent.ids) - 1)
            sequence.table = self.cache.fork(parent.table)
        else:
            sequence.table = PageTable(sequence.namespace)
        if sequence.placed:
            self._linker.begin(sequence)
        _take_out(self.waiting, sequence)
        _insert(self.running, sequence)
        sequence.is_running = True
        self._changes.run(sequence)
        return True

    def _lock_adapter(self, sequence: Sequence, step: Step) -> bool:
        """False while the sequence's adapter is read, and when it has no room now: then the queue
        waits for it. One that cannot be read, or has no room though nothing runs, ends its
        sequence."""
        try:
            while not self.adapters.acquire(sequence.adapter):
                if self.adapters.is_loading(sequence.adapter):
                    return False  # others go on meanwhile
                if not self._take_pages(sequence, step):
                    break
            else:
                return True
        except EngineUnavailable as error:
            step.refused.append((sequence, error))
            return False
        step.is_closed = True
        if not self.running and not self.adapters.num_loading:
            refusal = EngineOverloaded(f"no room in the KV pool for {sequence.adapter}")
            step.refused.append((sequence, refusal))
        return False

    def _place(self, sequence: Sequence, room: int, step: Step) -> None:
        """Give a running sequence its next tokens, as many as `room` allows. The only place where
        a Run is made; guesses are put behind it later (`speculation`), from what the step leaves.

        A run covers `num_to_compute` tokens from `num_computed` on, and wants the logits from its
        sequence's last known token on: one of a decode."""
        num_tokens = min(room, sequence.num_to_compute)
        if not num_tokens:
            step.num_sequences += 1
            step.ready.append(sequence)
            return
        places = sequence.next_places(num_tokens)
        start = places[0] if places else sequence.table.num_computed
        end = places[-1] + 1 if places else start + num_tokens
        if not self._make_room(sequence, end, step):
            return
        self._publish(sequence, start, min(end, len(sequence.ids)))
        step.num_sequences += 1
        step.runs.append(
            Run(sequence, num_tokens, sequence.num_logits(start, end), start, (), places)
        )
        step.num_keys += sum(places, num_tokens) if places else num_tokens * (start + end + 1) // 2
        step.budget -= num_tokens
        step.num_tokens += num_tokens
        step.is_look = sequence.look is not None

    def _find_cached(self, sequence: Sequence) -> None:
        known = max(sequence.table.num_computed, sequence.num_known)
        self.cache.match(sequence.table, sequence.ids[: sequence.num_cacheable])
        if not sequence.was_preempted:  # what it finds of its own pages is no saving
            found = min(sequence.table.num_computed, sequence.num_prompt)
            sequence.num_cached += max(0, found - known)

    def _publish(self, sequence: Sequence, start: int, end: int) -> None:
        """Name the pages that this run fills. Earlier ones were named by earlier runs."""
        page_size = self.cache.pool.page_size
        if end // page_size > start // page_size:
            self.cache.publish(sequence.table, sequence.ids, end)

    def _make_room(self, sequence: Sequence, num_tokens: int, step: Step) -> bool:
        """Reserve pages, taking them from later sequences if necessary. False when no later
        sequence is left: this one then keeps its pages and skips the step."""
        while not self.cache.reserve(sequence.table, num_tokens):
            if not self._take_pages(sequence, step):
                return False
        return True

    def _take_pages(self, sequence: Sequence, step: Step) -> bool:
        """Preempt one of those behind; False when there is none."""
        behind = [s for s in step.lineup[step.lineup.index(sequence) + 1 :] if s.is_running]
        victims = self.policy.victims(behind, self.view(), self._clock())
        if not victims:
            return False
        self._preempt(victims[0])
        self._log.preempted(victims[0], sequence)
        step.is_closed = True
        return True

    def _preempt(self, victim: Sequence) -> None:
        """Back to waiting, without pages. What it computed stays in the tree as long as it can,
        and moves to lower tiers where there are some: recomputed, found or swapped in again."""
        self.cache.publish(victim.table, victim.ids, victim.table.num_computed)
        self.cache.drop(victim.table)
        self._stop(victim)
        _insert(self.waiting, victim)
        victim.was_preempted = True
        self.num_preemptions += 1

    def _stop(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        sequence.is_running = False
        self.adapters.release(sequence.adapter)


def _insert(line: list[Sequence], sequence: Sequence) -> None:
    insort(line, sequence, key=lambda s: s.arrival)


def _take_out(line: list[Sequence], sequence: Sequence) -> None:
    index = bisect_left(line, sequence.arrival, key=lambda s: s.arrival)
    assert line[index] is sequence, "lines are in order of arrival"
    del line[index]
