"""Continuous batching with chunked prefill and prefix caching, a jump at a time.

While nothing comes and nothing ends, steps of decodes are alike, and many of them are one jump:

    arrival   step with its prompt   jump: 37 steps of 5 decodes   end of one   jump ...

All that decode are at the same count of steps, so the next to end is the first of a heap, and an
event costs O(log n) beside the order of what waits. Where memory runs out, the last that began
gives up its pages and is computed again, as in the planner of the embedded engine.
"""

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

from backends.emulated.events.memory import Memory
from backends.emulated.events.options import EventOptions
from backends.emulated.events.sequence import Sequence
from backends.emulated.events.step_times import StepTimes
from backends.emulated.roofline import Roofline, Rows
from backends.llm.planner.chunk_size import chunk_of_least_delay
from backends.policy.base import Policy, Service
from backends.policy.in_order import in_order
from backends.policy.named import policy_named


@dataclass(slots=True)
class Jump:
    """Steps that are under way."""

    num_steps: int
    chunks: list[tuple[Sequence, int]]  # tokens of prompts, of one step
    seconds: float


class EventCore:
    """Sequences go in by `add`; `plan` and `finish` take turns."""

    def __init__(self, roofline: Roofline, options: EventOptions, kv_tokens: int) -> None:
        self.times = StepTimes(roofline)
        self.num_preemptions = 0
        self._options = options
        self._memory = Memory(kv_tokens, options.page_size)
        self._policy: Policy = policy_named(options.policy)
        self._account = None if self._policy.account is None else self._policy.account()
        self._waiting: dict[int, Sequence] = {}  # by order
        self._prefilling: dict[int, Sequence] = {}
        self._decoding: dict[int, Sequence] = {}  # in the order in which they began to decode
        self._ends: list[tuple[int, int, Sequence, int]] = []  # with how often it had begun
        self._num_keys = 0  # K of the next step
        self._count = 0  # of steps

    @property
    def num_running(self) -> int:
        return len(self._prefilling) + len(self._decoding)

    def add(self, sequence: Sequence) -> None:
        self._waiting[sequence.order] = sequence
        if self._account is not None:
            flow = self._policy.flow(sequence)
            self._account.arrived(flow, sequence, sequence.arrival_s)

    def drop(self, sequence: Sequence) -> None:
        """Between two jumps. It may have ended."""
        order = sequence.order
        if self._waiting.pop(order, None) is not None:
            self._left(sequence)
        elif order in self._prefilling or order in self._decoding:
            self._stop(sequence)

    def plan(self) -> Jump | None:
        """What comes next; None: there is nothing to do."""
        self._admit()
        while True:
            if self._prefilling:
                chunks = list(self._chunks())
                return Jump(1, chunks, self._step_s(chunks))
            if not self._decoding:
                return None
            room = self._memory.free_tokens // len(self._decoding)
            if room >= 1 or len(self._decoding) == 1:
                first = self._first_end()
                num_steps = max(1, min(first - self._count, room))
                return Jump(num_steps, [], self._decodes_s(num_steps))
            self._preempt()

    def shorten(self, jump: Jump, elapsed_s: float) -> bool:
        """The jump ends with the step that is under way after so many seconds; whether that is
        sooner."""
        n, before = len(self._decoding), jump.num_steps
        if jump.chunks or before == 1:
            return False
        jump.num_steps = self.times.steps_until(elapsed_s, before, n, self._num_keys)
        jump.seconds = self._decodes_s(jump.num_steps)
        return jump.num_steps < before

    def finish(self, jump: Jump) -> tuple[list[Sequence], list[Sequence]]:
        """The jump is over: the sequences that have their first token now, and those that ended."""
        n = len(self._decoding)
        self._count += jump.num_steps
        self._num_keys += n * jump.num_steps
        self._memory.grow(n * jump.num_steps)
        done = list(self._ended())
        first: list[Sequence] = []
        for sequence, rows in jump.chunks:
            self._memory.compute(sequence, rows)
            sequence.num_prefilled += rows
            if sequence.num_computed == sequence.length:
                self._computed(sequence, first, done)
        self._memory.make_room()
        return first, done

    def _admit(self) -> None:
        if not self._waiting or self.num_running >= self._options.max_running:
            return
        for sequence in self._ordered(list(self._waiting.values())):
            if self.num_running >= self._options.max_running:
                return
            known = self._memory.known_pages(sequence)
            if self.num_running and not self._fits(sequence, known):
                return
            self._begin(sequence, known)

    def _fits(self, sequence: Sequence, num_known: int) -> bool:
        """Beside a page for each that runs, or a share of the memory."""
        page, share = self._options.page_size, self._options.watermark
        reserve = max(self.num_running * page, share * self._memory.num_tokens)
        return sequence.length - num_known * page + reserve <= self._memory.free_tokens

    def _begin(self, sequence: Sequence, known: int) -> None:
        del self._waiting[sequence.order]
        self._left(sequence)
        self._memory.begin(sequence, known)
        if not sequence.begun:
            sequence.num_cached = sequence.num_computed
        sequence.begun += 1
        self._prefilling[sequence.order] = sequence

    def _left(self, sequence: Sequence) -> None:
        if self._account is not None:
            self._account.left(self._policy.flow(sequence), sequence)

    def _ordered(self, sequences: list[Sequence]) -> list[Sequence]:
        if len(sequences) == 1:
            return sequences
        if self._policy.name == "fcfs":
            ordered = sorted(sequences, key=lambda sequence: sequence.order)
        else:
            value = (lambda _: 0.0) if self._account is None else self._account.value
            ordered = in_order(self._policy, sequences, value)
        if len({sequence.request.priority for sequence in ordered}) > 1:
            ordered = sorted(ordered, key=lambda sequence: -sequence.request.priority)
        return ordered

    def _chunks(self) -> Iterator[tuple[Sequence, int]]:
        """Of the next step."""
        ordered = self._ordered(list(self._prefilling.values()))
        left = self._room(ordered)
        for sequence in ordered:
            rows = min(left, sequence.length - sequence.num_computed)
            yield sequence, rows
            left -= rows
            if not left:
                return

    def _room(self, prefilling: list[Sequence]) -> int:
        """Tokens of prompts in the next step; see `backends.llm.planner.admission`."""
        n = len(self._decoding)
        most = max(self._options.token_budget - n, 1)
        left = {} if self._policy.name == "fcfs" else self._steps_left()
        if not left:
            return most
        reach = max((s.num_computed + s.length) // 2 for s in prefilling)

        def step_s(size: int) -> float:
            rows = [Rows(size, reach + size // 2)] if size else []
            return self.times.mixed_s(rows, 0, n, self._num_keys)

        prompts = ((s.place.query, s.length - s.num_computed) for s in prefilling)
        return chunk_of_least_delay(prompts, left, step_s, most)

    def _steps_left(self) -> dict[Hashable, int]:
        """Of the longest decode of each query."""
        left: dict[Hashable, int] = {}
        for sequence in self._decoding.values():
            if sequence.request.place is not None and sequence.request.place.query:
                query = sequence.place.query
                left[query] = max(sequence.finish_at - self._count, left.get(query, 0))
        return left

    def _decodes_s(self, num_steps: int) -> float:
        return self.times.decodes_s(num_steps, len(self._decoding), self._num_keys)

    def _step_s(self, chunks: Iterable[tuple[Sequence, int]]) -> float:
        rows = [Rows(r, sequence.num_computed + r) for sequence, r in chunks]
        num_ended = sum(
            sequence.num_computed + r == sequence.length and sequence.num_wanted > 0
            for sequence, r in chunks
        )
        return self.times.mixed_s(rows, num_ended, len(self._decoding), self._num_keys)

    def _computed(self, sequence: Sequence, first: list[Sequence], done: list[Sequence]) -> None:
        """Its prompt is there, and with it the next token, if it wants any."""
        del self._prefilling[sequence.order]
        if sequence.num_wanted:
            sequence.num_generated += 1
            self._memory.grow(1)
            if sequence.num_generated == 1:
                first.append(sequence)
        if sequence.num_generated == sequence.num_wanted:
            self._end(sequence)
            done.append(sequence)
            return
        sequence.finish_at = self._count + sequence.num_wanted - sequence.num_generated
        self._decoding[sequence.order] = sequence
        self._num_keys += sequence.length
        heappush(self._ends, (sequence.finish_at, sequence.order, sequence, sequence.begun))

    def _first_end(self) -> int:
        while not self._is_due(self._ends[0]):
            heappop(self._ends)
        return self._ends[0][0]

    def _is_due(self, end: tuple[int, int, Sequence, int]) -> bool:
        return end[1] in self._decoding and end[2].begun == end[3]

    def _ended(self) -> Iterator[Sequence]:
        while self._ends and self._ends[0][0] <= self._count:
            end = heappop(self._ends)
            if self._is_due(end):
                sequence = end[2]
                del self._decoding[sequence.order]
                sequence.num_generated = sequence.num_wanted
                self._num_keys -= sequence.length
                self._end(sequence)
                yield sequence

    def _end(self, sequence: Sequence) -> None:
        self._memory.end(sequence, is_computed=True)
        if self._account is not None:
            service = Service(0.0, sequence.num_prefilled, sequence.num_generated)
            self._account.serve(self._policy.flow(sequence), sequence, service)

    def _preempt(self) -> None:
        """The last that began to decode."""
        sequence = next(reversed(self._decoding.values()))
        self._stop(sequence)
        self.num_preemptions += 1
        self.add(sequence)

    def _stop(self, sequence: Sequence) -> None:
        if self._decoding.pop(sequence.order, None) is not None:
            sequence.num_generated = sequence.num_wanted - (sequence.finish_at - self._count)
            self._num_keys -= sequence.length
            self._memory.end(sequence, is_computed=True)
        else:
            del self._prefilling[sequence.order]
            self._memory.end(sequence, is_computed=False)

    def check_integrity(self) -> None:
        """What is counted is what is there. Between two jumps."""
        lengths = {
            each: each.prompt.num_tokens + each.num_wanted - (each.finish_at - self._count)
            for each in self._decoding.values()
        }
        keys = sum(lengths.values())
        assert self._num_keys == keys, f"{self._num_keys} keys are counted, {keys} are there"
        self._memory.check_integrity(self._prefilling.values(), lengths)
