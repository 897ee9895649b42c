"""The engine without its thread: add requests, call `step`, get outcomes.

Usage counts: a prefill's `prefill_tokens` are the tokens it computed (those of its parent only if
their KV was lost), `cached_tokens` the new ones it found computed; a decode's `prefill_tokens` are
the last prompt token and whatever it computed again. Over a prefill and its decode the two add up
to the prompt. `decode_tokens` are sampled tokens, the end-of-turn token included.
"""

from collections import deque
from collections.abc import Iterator
from typing import Literal

import torch

from backends.base import Outcome, Request, Result, Usage
from backends.errors import EngineError, RequestRejected
from backends.llm.batch import Run, build_batch
from backends.llm.finish import cut_at_text
from backends.llm.grammar import Grammars
from backends.llm.intake import Intake
from backends.llm.kv_cache import KVCache, PageTable
from backends.llm.model import LlamaModel
from backends.llm.options import LLMOptions
from backends.llm.prompt import PromptEncoder
from backends.llm.sampler import sample
from backends.llm.scheduler import Scheduler, Step
from backends.llm.sequence import Generation, LLMContext, Sequence

Finished = list[tuple[Request, Outcome]]


class LLMCore:
    """One model with its KV pool and queues. Not thread safe, except `LLMContext.release`."""

    def __init__(
        self, model: LlamaModel, prompts: PromptEncoder, options: LLMOptions, kv_tokens: int
    ) -> None:
        num_pages = max(1, kv_tokens // options.page_size)
        self.model = model
        self.kv = model.make_pool(num_pages, options.page_size)
        self.cache = KVCache(num_pages, options.page_size, self.kv.copy_page)
        self.scheduler = Scheduler(self.cache, options.token_budget, options.max_running)
        limit = min(options.context_len or model.config.max_positions, model.config.max_positions)
        self._prompts = prompts
        self._released: deque[PageTable] = deque()  # filled by any thread
        grammars = Grammars(prompts.tokenizer, model.config.vocab_size, sorted(prompts.stop_ids))
        self._intake = Intake(
            prompts,
            grammars,
            self._released,
            limit,
            pool_tokens=self.cache.pool.num_tokens,
        )
        self.max_context_tokens = min(limit, self.cache.pool.num_tokens + 1)
        self._live: dict[str, Sequence] = {}  # by request id
        self._num_arrivals = 0
        self.num_steps = 0

    @property
    def has_work(self) -> bool:
        return bool(self._live)

    def add(self, request: Request) -> None:
        """Queue a request. Raises RequestRejected or RequestTooLong."""
        if request.id in self._live:
            raise RequestRejected(f"request id {request.id!r} is running already")
        self._num_arrivals += 1
        sequence = self._intake.sequence(request, self._num_arrivals)
        self._live[request.id] = sequence
        self.scheduler.add(sequence)

    def abort(self, request_id: str) -> Request | None:
        """Drop a request and free its pages; None when it is not here."""
        sequence = self._live.get(request_id)
        if sequence is None:
            return None
        self._discard(sequence)
        return sequence.request

    def step(self) -> Finished:
        """Run one step; the requests that finished in it, failed ones with their exception."""
        self._free_released()
        step = Step(budget=0)
        try:
            step = self.scheduler.schedule()
            tokens = self._run(step.runs)
        except Exception as error:
            return self._fail(step.sequences or list(self._live.values()), error)
        finished = [self._finish_prefill(sequence) for sequence in step.ready]
        sampled = iter(tokens)
        for run in step.runs:
            finished += self._take(run, sampled)
        return finished

    def flush(self) -> None:
        """Forget every prefix that nobody holds."""
        self._free_released()
        self.cache.forget()

    def check_integrity(self) -> None:
        """Raise AssertionError unless every page's count equals its actual holders."""
        self._free_released()
        self.cache.check_integrity(sequence.table for sequence in self._live.values())

    @torch.inference_mode()
    def _run(self, runs: list[Run]) -> list[int]:
        """Compute a step and sample a token for each run that wants logits."""
        if not runs:
            return []
        self.num_steps += 1
        logits = self.model.forward(build_batch(runs, self.kv.page_size), self.kv)  # [R, V]
        if logits is None:
            return []
        return sample(logits, [_generation(run.sequence) for run in runs if run.num_logits])

    def _take(self, run: Run, sampled: Iterator[int]) -> Finished:
        """Note what a run computed."""
        sequence = run.sequence
        sequence.table.num_computed += run.num_tokens
        if sequence.generation is None or not sequence.generation.num_sampled:
            sequence.num_prefilled += run.num_tokens
        if run.num_logits:
            return list(self._advance(sequence, next(sampled)))
        if sequence.num_to_compute:
            return []
        return [self._finish_prefill(sequence)]

    def _advance(self, sequence: Sequence, token: int) -> Iterator[tuple[Request, Outcome]]:
        """Take a sampled token; yields the outcome when it was the last."""
        generation = _generation(sequence)
        generation.num_sampled += 1
        try:
            if token in self._prompts.stop_ids:
                yield self._finish_decode(sequence, is_stopped=True)
                return
            sequence.ids.append(token)
            if generation.matcher is not None:
                generation.matcher.consume(token)
            _show(sequence, generation.stops.push(generation.detokenizer.push(token)))
            is_complete = generation.matcher is not None and generation.matcher.is_finished
            is_stopped = generation.stops.is_stopped or is_complete
            if is_stopped or len(sequence.output_ids) >= generation.max_new:
                yield self._finish_decode(sequence, is_stopped)
        except Exception as error:
            self._discard(sequence)
            yield sequence.request, _as_failure(error, "a decode")

    def _finish_prefill(self, sequence: Sequence) -> tuple[Request, Outcome]:
        usage = Usage(prefill_tokens=sequence.num_prefilled, cached_tokens=sequence.num_cached)
        return sequence.request, Result((self._to_context(sequence),), usage)

    def _finish_decode(self, sequence: Sequence, is_stopped: bool) -> tuple[Request, Outcome]:
        generation = _generation(sequence)
        stops = generation.stops
        _show(sequence, stops.push(generation.detokenizer.flush()))
        _show(sequence, stops.flush())
        if stops.is_stopped:
            kept = cut_at_text(sequence.output_ids, generation.text, self._prompts.tokenizer)
            self.cache.publish(sequence.table, sequence.ids, sequence.table.num_computed)
            num_same = sequence.num_prompt + kept.num_same
            self.cache.truncate(sequence.table, num_same)
            sequence.ids[num_same:] = kept.rest
        usage = Usage(
            prefill_tokens=sequence.num_prefilled,
            cached_tokens=sequence.num_cached,
            decode_tokens=generation.num_sampled,
        )
        reason: Literal["stop", "length"] = "stop" if is_stopped or stops.is_stopped else "length"
        context = self._to_context(sequence)
        return sequence.request, Result((generation.text, context), usage, reason)

    def _to_context(self, sequence: Sequence) -> LLMContext:
        """Publish what is new and hand the pages over to a context."""
        self._forget(sequence)
        table = sequence.table
        self.cache.publish(table, sequence.ids, table.num_computed)
        self.cache.truncate(table, max(0, len(sequence.ids) - 1))
        self.cache.retire(table)
        return LLMContext(sequence.ids, sequence.turn, table, self._released)

    def _fail(self, sequences: list[Sequence], error: Exception) -> Finished:
        """End the sequences of a step that raised. Pages it published may be unwritten: nobody
        else holds them, so they go with all else that nobody holds."""
        for sequence in sequences:
            self._discard(sequence)
        self.cache.forget()
        failure = _as_failure(error, "a step")
        return [(sequence.request, failure) for sequence in sequences]

    def _discard(self, sequence: Sequence) -> None:
        self._forget(sequence)
        self.cache.drop(sequence.table)

    def _forget(self, sequence: Sequence) -> None:
        if self._live.pop(sequence.request.id, None) is not None:
            self.scheduler.remove(sequence)

    def _free_released(self) -> None:
        while self._released:
            self.cache.drop(self._released.popleft())


def _generation(sequence: Sequence) -> Generation:
    assert sequence.generation is not None, f"{sequence} is not a decode"
    return sequence.generation


def _as_failure(error: Exception, what: str) -> EngineError:
    if isinstance(error, EngineError):
        return error
    failure = EngineError(f"{what} failed: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def _show(sequence: Sequence, text: str) -> None:
    if text:
        _generation(sequence).text += text
        if sequence.request.emit is not None:
            sequence.request.emit(text)
