"""The requests that are here: how results of steps move their sequences on, and how they end."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as Items

import numpy as np
from numpy.typing import NDArray

from backends.base import Outcome, Request, Result, TokenLogprob
from backends.errors import EngineError, RequestRejected
from backends.llm.kv.cache import KVCache
from backends.llm.kv.page_table import PageTable
from backends.llm.model.batch import NO_TOKEN, Run
from backends.llm.outcomes import as_failure
from backends.llm.planner.planner import BatchPlanner
from backends.llm.requests.prompt_encoder import PromptEncoder
from backends.llm.sample.sampler import Picks, SamplingResult
from backends.llm.sequence.generation import Generation
from backends.llm.sequence.group import Group
from backends.llm.sequence.output import grow, start
from backends.llm.sequence.sequence import LLMContext, Sequence
from backends.llm.sequence.tool_decoding import turn_after
from backends.llm.speculation.speculator import Speculator
from backends.llm.text.stop import cut_at_text

Finished = list[tuple[Request, Outcome]]
NoteContext = Callable[[Sequence, LLMContext], None]


class LiveRequests:
    """Of one engine. `released` is filled by contexts that are gone, on any thread; `note_context`
    is told of each context that a sequence became."""

    def __init__(
        self,
        cache: KVCache,
        planner: BatchPlanner,
        speculator: Speculator | None,
        prompts: PromptEncoder,
        released: deque[PageTable],
        scores: Callable[[Sequence], NDArray[np.float32]],
        note_context: NoteContext | None = None,
    ) -> None:
        """`scores` are those that a look found."""
        self.groups: dict[str, Group] = {}  # by request id
        self._cache = cache
        self._planner = planner
        self._speculator = speculator
        self._prompts = prompts
        self.released = released
        self._scores = scores
        self._note_context = note_context
        self._num_arrivals = 0

    def check_new(self, request_id: str) -> None:
        """Raises RequestRejected when the id is running."""
        if request_id in self.groups:
            raise RequestRejected(f"request id {request_id!r} is running already")

    def add(self, group: Group) -> None:
        """Queue a prepared request."""
        for sequence in group.live:
            if sequence.generation is not None:
                start(sequence, sequence.generation)
        for sequence in group.live:
            self._num_arrivals += 1
            sequence.arrival = self._num_arrivals
            self._planner.add(sequence)
        self.groups[group.request.id] = group

    def drop(self, group: Group) -> None:
        """Take a request out, with all that its sequences hold."""
        del self.groups[group.request.id]
        for sequence in list(group.live):
            self._forget(sequence, group)
            self._cache.drop(sequence.table)
        group.release()

    def take(self, run: Run, result: SamplingResult | None) -> Finished:
        """Note what a run computed."""
        sequence = run.sequence
        if sequence.request.id not in self.groups:  # a sibling failed in this step
            return []
        sequence.note_computed(run.num_tokens - len(run.guesses))
        if isinstance(result, tuple):
            return self._advance(sequence, result)
        if result is not None and sequence.scoring is not None:
            if not all(map(_is_finite, result)):
                return self.end(sequence, _not_finite(sequence.ids))
            end = sequence.table.num_computed + 1
            sequence.scoring.note(end - len(result), result)
        return [] if sequence.num_to_compute else self.finish_prefill(sequence)

    def finish_prefill(self, sequence: Sequence) -> Finished:
        """Its prompt is computed, or was."""
        if sequence.request.id not in self.groups:  # a sibling was refused
            return []
        found = () if sequence.look is None else (self._scores(sequence),)
        told = () if sequence.scoring is None else sequence.scoring.prompt_logprobs
        outputs = (self._to_context(sequence), *found)
        result = Result(outputs, sequence.usage, prompt_logprobs=told, served=sequence.served)
        return self.end(sequence, result)

    def end(self, sequence: Sequence, outcome: Outcome) -> Finished:
        """Note how a sequence ended; its request's outcome when it was the last, or failed."""
        group = self.groups.get(sequence.request.id)
        if group is None:  # a sibling failed in this step
            return []
        if isinstance(outcome, Exception):
            self.drop(group)
            return [(group.request, outcome)]
        result = group.end(sequence, outcome)
        if result is None:
            return []
        del self.groups[group.request.id]
        return [(group.request, result)]

    def fail(self, sequences: Iterable[Sequence], error: Exception) -> Finished:
        """End the requests of a step that raised; all, if it was not even planned. Pages it
        published may be unwritten: nobody else holds them, so they go with all else that nobody
        holds."""
        groups = {s.request.id: self.groups[s.request.id] for s in sequences} or dict(self.groups)
        for group in groups.values():
            self.drop(group)
        self._cache.unsettle(self.tables())
        failure = as_failure(error, "a step failed")
        return [(group.request, failure) for group in groups.values()]

    def tables(self) -> Iterator[PageTable]:
        """The pages of all their sequences."""
        return (sequence.table for group in self.groups.values() for sequence in group.live)

    def most_pages(self) -> int:
        """What the largest of their sequences may need in the end."""
        return max((self.pages_of(group) for group in self.groups.values()), default=0)

    def pages_of(self, group: Group) -> int:
        """What the largest sequence of a request may need in the end, its adapter included."""
        return max((self._num_pages(sequence) for sequence in group.live), default=0)

    def _num_pages(self, sequence: Sequence) -> int:
        own = self._cache.pool.pages_for(sequence.longest - 1)
        return own + (sequence.adapter.num_pages if sequence.adapter is not None else 0)

    def _advance(self, sequence: Sequence, picks: Picks) -> Finished:
        """Take sampled tokens: each but the first has come behind a guess that was right."""
        generation, table = _generation(sequence), sequence.table
        ignores_ends = generation.sampling.ignore_eos and generation.matcher is None
        end_ids = () if ignores_ends else self._prompts.stop_ids
        try:
            for place, pick in enumerate(picks):
                if pick.token == NO_TOKEN:
                    raise _not_finite(sequence.ids)
                table.num_computed += place > 0  # the guess has its KV
                generation.num_accepted += place > 0
                if grow(sequence, generation, pick, end_ids):
                    return self._finish_decode(sequence, generation)
        except Exception as error:
            return self.end(sequence, as_failure(error, "a decode failed"))
        if generation.num_guessed:
            self._cache.publish(table, sequence.ids, table.num_computed)
            self._cache.truncate(table, table.num_computed)
        return []

    def _finish_decode(self, sequence: Sequence, generation: Generation) -> Finished:
        if generation.stops.is_stopped:
            kept = cut_at_text(sequence.output_ids, generation.text, self._prompts.tokenizer)
            self._cache.publish(sequence.table, sequence.ids, sequence.table.num_computed)
            num_same = sequence.num_prompt + kept.num_same
            self._cache.truncate(sequence.table, num_same)
            sequence.ids[num_same:] = kept.rest
        sequence.turn = turn_after(sequence.turn, generation.turn)
        outputs = (generation.output, self._to_context(sequence))
        usage, sample = sequence.usage, generation.sample
        result = Result(outputs, usage, sample.finish_reason, (sample,), served=sequence.served)
        return self.end(sequence, result)

    def _to_context(self, sequence: Sequence) -> LLMContext:
        """Publish what is new and hand the pages over to a context."""
        self._forget(sequence, self.groups[sequence.request.id])
        table = sequence.table
        self._cache.publish(table, sequence.ids, table.num_computed)
        self._cache.truncate(table, max(0, len(sequence.ids) - 1))
        self._cache.retire(table)
        context = LLMContext(
            sequence.ids, sequence.turn, table, self.released, sequence.adapter, sequence.salt
        )
        if self._note_context is not None:
            self._note_context(sequence, context)
        return context

    def _forget(self, sequence: Sequence, group: Group) -> None:
        group.live.remove(sequence)
        self._planner.remove(sequence)
        if self._speculator is not None:
            self._speculator.proposer.forget(sequence)


def _generation(sequence: Sequence) -> Generation:
    assert sequence.generation is not None, f"{sequence} is not a decode"
    return sequence.generation


def _is_finite(found: float | TokenLogprob) -> bool:
    return math.isfinite(found.logprob if isinstance(found, TokenLogprob) else found)


def _not_finite(ids: Items[int]) -> EngineError:
    """No token can be chosen after these."""
    return EngineError(
        f"the model's logits are not finite (NaN or infinity) after {len(ids)} tokens: its weights "
        "or the adapter are damaged, or a sum overflowed; try dtype='float32' or another file"
    )
