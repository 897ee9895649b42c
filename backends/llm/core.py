"""The engine without its thread: add requests, call `step`, get outcomes."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Items
from functools import partial
from pathlib import Path
from typing import Any

import torch

from backends.base import Outcome, Part, Request, Result
from backends.errors import EngineError, RequestRejected
from backends.llm.kv.cache import KVCache
from backends.llm.kv.page_table import PageTable
from backends.llm.kv.pins import Pins
from backends.llm.kv.tiers.open_tiers import open_tiers
from backends.llm.kv.tiers.tier_transfer import TierTransfer
from backends.llm.lora.adapter import LoadedAdapter
from backends.llm.lora.files import read_adapter
from backends.llm.lora.pool import AdapterPool
from backends.llm.model.batch import NO_TOKEN, Run
from backends.llm.model.batch_builder import BatchBuilder
from backends.llm.model.step_model import Launched, StepModel
from backends.llm.model.torch_model.kv_pool import bytes_per_token
from backends.llm.options import LLMOptions
from backends.llm.planner.latency import LatencyModel
from backends.llm.planner.planner import BatchPlanner, Step
from backends.llm.planner.policies import policy_from
from backends.llm.requests.prompt_encoder import PromptEncoder
from backends.llm.requests.validation import RequestValidator
from backends.llm.sample.grammar import Grammars
from backends.llm.sample.sampler import (
    Picks,
    Sampler,
    SamplingResult,
    SamplingResults,
    sampling_results,
)
from backends.llm.sequence.generation import Generation
from backends.llm.sequence.group import Group
from backends.llm.sequence.output import grow, start
from backends.llm.sequence.sequence import LLMContext, Sequence
from backends.llm.sequence.tool_decoding import turn_after
from backends.llm.speculation.speculator import open_speculation
from backends.llm.stats import CacheStats, SpeculationStats
from backends.llm.text.stop import cut_at_text

Finished = list[tuple[Request, Outcome]]
_LOAD_WAIT_S = 0.002  # an abort may come meanwhile


class LLMCore:
    """One model with its KV pool and queues. Not thread safe, except `LLMContext.release`."""

    def __init__(
        self,
        model: StepModel[Any],
        prompts: PromptEncoder,
        options: LLMOptions,
        kv_tokens: int,
        clock: Callable[[], float] = time.perf_counter,
        identity: str = "",
        draft: StepModel[Any] | None = None,
        sampler: Sampler = sampling_results,
    ) -> None:
        """`identity` names what the weights are; pages on disk are found by it. `draft` has the
        same vocabulary. `sampler` makes a step's results of its logits."""
        num_pages = max(1, kv_tokens // options.page_size)
        self.model = model
        self.kv = model.make_pool(num_pages, options.page_size)
        latency = LatencyModel()
        self.cache = KVCache(
            num_pages,
            options.page_size,
            self.kv.copy_page,
            options.eviction,
            price=latency.prefill_s if options.eviction == "pgdsf" else None,
        )
        tiers = open_tiers(self.kv, options, identity, model, self.cache.stats)
        self.transfer = TierTransfer(self.cache, tiers) if tiers is not None else None
        read = partial(read_adapter, model=model.config, device=model.device)
        page_bytes = bytes_per_token(model.config, model.dtype) * options.page_size
        self.adapters = AdapterPool(self.cache, page_bytes, read, model.adapter_bytes)
        self.planner = BatchPlanner(
            self.cache,
            self.adapters,
            policy_from(options),
            options.token_budget,
            options.max_running,
            options.patience_ms / 1e3,
            clock,
            latency,
        )
        self._clock = clock
        self._sampler = sampler
        self.speculator = open_speculation(
            options, self.cache, draft, model.config.vocab_size, clock
        )
        limit = min(options.context_len or model.config.max_positions, model.config.max_positions)
        self._batches = BatchBuilder(self.cache.pool, options.max_running, limit)
        self._prompts = prompts
        self._released: deque[PageTable] = deque()  # filled by any thread
        self.pins = Pins(self.cache, self._released, options.pin_share, self._most_pages)
        grammars = Grammars(prompts.tokenizer, model.config.vocab_size, sorted(prompts.stop_ids))
        self._validator = RequestValidator(
            prompts,
            grammars,
            self.adapters,
            self._released,
            limit,
            pool_tokens=self.cache.pool.num_tokens,
            vocab_size=model.config.vocab_size,
            jump_forward=options.jump_forward,
            speculates=self.speculator is not None,
        )
        self.max_context_tokens = min(limit, self.cache.pool.num_tokens + 1)
        self._live: dict[str, Group] = {}  # by request id
        self._num_arrivals = 0
        self.num_steps = 0

    @property
    def has_work(self) -> bool:
        return bool(self._live) or (self.transfer is not None and self.transfer.num_loading > 0)

    def encode(self, parts: Items[Part]) -> list[int]:
        """Token ids of a prompt. Any thread may call. Raises RequestRejected."""
        return self._prompts.encode(parts, (), None)[0]

    def decode(self, ids: Items[int]) -> str:
        """Text of token ids, markup included. Any thread may call. Raises RequestRejected."""
        tokenizer = self._prompts.tokenizer
        if wrong := [token for token in ids if not 0 <= token < tokenizer.vocab_size]:
            raise RequestRejected(
                f"there is no token {wrong[0]}: ids end at {tokenizer.vocab_size}"
            )
        return tokenizer.decode(ids, with_markup=True)

    def prepare(self, request: Request) -> Group:
        """Check and tokenise a request, compile its grammar. Any thread may call.

        Raises RequestRejected or RequestTooLong."""
        return self._validator.group(request)

    def submit(self, group: Group) -> None:
        """Queue a prepared request. Raises RequestRejected when its id is running."""
        request_id = group.request.id
        if request_id in self._live:
            raise RequestRejected(f"request id {request_id!r} is running already")
        self.pins.check_room(max(self._num_pages(sequence) for sequence in group.live))
        for sequence in group.live:
            if sequence.generation is not None:
                start(sequence, sequence.generation)
        for sequence in group.live:
            self._num_arrivals += 1
            sequence.arrival = self._num_arrivals
            self.planner.add(sequence)
        self._live[request_id] = group

    def add(self, request: Request) -> None:
        """Prepare and queue a request. Raises RequestRejected or RequestTooLong."""
        self.submit(self.prepare(request))

    def abort(self, request_id: str) -> Request | None:
        """Drop a request and free its pages; None when it is not here."""
        group = self._live.get(request_id)
        if group is None:
            return None
        self._drop(group)
        return group.request

    def step(self) -> Finished:
        """Run one step; the requests that finished in it, failed ones with their exception."""
        self._free_released()
        self._take_loaded()
        step = Step()
        try:
            step = self.planner.plan()
            started_s = self._clock()
            if self.speculator is not None:
                self.speculator.extend(step)
            results = self._collect(step, self._launch(step))
            self.cache.settle()
            elapsed_s = self._clock() - started_s
            self.planner.note(step, elapsed_s)
        except Exception as error:
            return self._fail(step.sequences, error)
        self._wait_for_loads(step)
        finished: Finished = []
        for sequence, refusal in step.refused:
            finished += self._end(sequence, refusal)
        for sequence in step.ready:
            if sequence.request.id in self._live:  # no sibling was refused
                finished += self._finish_prefill(sequence)
        for run, result in zip(step.runs, results, strict=True):
            finished += self._take(run, result)
        if self.speculator is not None:
            self.speculator.note(step, elapsed_s)
        return finished

    def flush(self) -> None:
        """Drop every prefix without a holder, in the lower tiers too."""
        self._free_released()
        if self.transfer is not None:
            self.transfer.flush()
        self.cache.forget()

    def close(self) -> None:
        """Save the KV of all prefixes to disk, if there is one. Nothing runs any more."""
        self.adapters.close()
        if self.transfer is not None:
            self.transfer.close()

    def cache_stats(self) -> CacheStats:
        """Counters and gauges of the KV cache. Any thread may ask."""
        below = self.transfer.gauges() if self.transfer is not None else {}
        return self.cache.take_stats(pinned_pages=self.pins.num_pinned, **below)

    def speculation_stats(self) -> SpeculationStats:
        """What guesses brought. Any thread may ask."""
        return self.speculator.stats if self.speculator is not None else SpeculationStats()

    @property
    def adapter_names(self) -> tuple[str, ...]:
        """What requests may name; any thread may ask."""
        return self.adapters.names

    def read_adapter(self, folder: Path) -> LoadedAdapter:
        """What `load_adapter` takes in. Any thread may call. Raises ConfigError."""
        return self.adapters.read(folder)

    def load_adapter(self, name: str, folder: Path, read: LoadedAdapter | None = None) -> None:
        """Make a LoRA adapter known by name. Raises ConfigError for files that do not fit."""
        self.adapters.load(name, folder, read)

    def unload_adapter(self, name: str) -> None:
        """Forget a name; requests that have come keep their adapter. Raises ConfigError."""
        self.adapters.unload(name)

    def check_integrity(self) -> None:
        """Raise AssertionError unless every page's count equals its actual holders."""
        self._free_released()
        running = [sequence.adapter for sequence in self.planner.running]
        self.adapters.check_integrity(running)
        live = (sequence.table for group in self._live.values() for sequence in group.live)
        self.cache.check_integrity((*live, *self.adapters.tables()))
        self.pins.check_integrity()
        if self.speculator is not None:
            self.speculator.proposer.check_integrity()

    def _launch(self, step: Step) -> Launched | None:
        """Start what was planned, if there is something to compute."""
        if not step.runs:
            return None
        self.num_steps += 1
        return self.model.launch(self._batches.build(step.runs), self.kv)

    @torch.inference_mode()
    def _collect(self, step: Step, launched: Launched | None) -> SamplingResults:
        """The tokens of each run that wants some, when the step is done."""
        if launched is None:
            return []
        output = launched.collect()
        return self._sampler(output, step.runs, self._prompts.tokenizer.bytes_of)

    def _take(self, run: Run, result: SamplingResult | None) -> Finished:
        """Note what a run computed."""
        sequence = run.sequence
        if sequence.request.id not in self._live:  # a sibling failed in this step
            return []
        sequence.note_computed(run.num_tokens - len(run.guesses))
        if isinstance(result, tuple):
            return self._advance(sequence, result)
        if result is not None and sequence.scoring is not None:
            if not all(map(math.isfinite, result)):
                return self._end(sequence, not_finite(sequence.ids))
            end = sequence.table.num_computed + 1
            sequence.scoring.note(end - len(result), result)
        return [] if sequence.num_to_compute else self._finish_prefill(sequence)

    def _advance(self, sequence: Sequence, picks: Picks) -> Finished:
        """Take sampled tokens: each but the first has come behind a guess that was right."""
        generation, table = _generation(sequence), sequence.table
        ignores_ends = generation.sampling.ignore_eos and generation.matcher is None
        end_ids = () if ignores_ends else self._prompts.stop_ids
        try:
            for place, pick in enumerate(picks):
                if pick.token == NO_TOKEN:
                    raise not_finite(sequence.ids)
                table.num_computed += place > 0  # the guess has its KV
                generation.num_accepted += place > 0
                if grow(sequence, generation, pick, end_ids):
                    return self._finish_decode(sequence, generation)
        except Exception as error:
            return self._end(sequence, _as_failure(error, "a decode"))
        if generation.num_guessed:
            self.cache.publish(table, sequence.ids, table.num_computed)
            self.cache.truncate(table, table.num_computed)
        return []

    def _finish_prefill(self, sequence: Sequence) -> Finished:
        return self._end(sequence, Result((self._to_context(sequence),), sequence.usage))

    def _finish_decode(self, sequence: Sequence, generation: Generation) -> Finished:
        if generation.stops.is_stopped:
            kept = cut_at_text(sequence.output_ids, generation.text, self._prompts.tokenizer)
            self.cache.publish(sequence.table, sequence.ids, sequence.table.num_computed)
            num_same = sequence.num_prompt + kept.num_same
            self.cache.truncate(sequence.table, num_same)
            sequence.ids[num_same:] = kept.rest
        sequence.turn = turn_after(sequence.turn, generation.turn)
        outputs = (generation.output, self._to_context(sequence))
        usage, sample = sequence.usage, generation.sample
        return self._end(sequence, Result(outputs, usage, sample.finish_reason, (sample,)))

    def _to_context(self, sequence: Sequence) -> LLMContext:
        """Publish what is new and hand the pages over to a context."""
        self._forget(sequence, self._live[sequence.request.id])
        table = sequence.table
        self.cache.publish(table, sequence.ids, table.num_computed)
        self.cache.truncate(table, max(0, len(sequence.ids) - 1))
        self.cache.retire(table)
        return LLMContext(
            sequence.ids, sequence.turn, table, self._released, sequence.adapter, sequence.salt
        )

    def _end(self, sequence: Sequence, outcome: Outcome) -> Finished:
        """Note how a sequence ended; its request's outcome when it was the last, or failed."""
        group = self._live.get(sequence.request.id)
        if group is None:  # a sibling failed in this step
            return []
        if isinstance(outcome, Exception):
            self._drop(group)
            return [(group.request, outcome)]
        result = group.end(sequence, outcome)
        if result is None:
            return []
        del self._live[group.request.id]
        return [(group.request, result)]

    def _fail(self, sequences: Iterable[Sequence], error: Exception) -> Finished:
        """End the requests of a step that raised; all, if it was not even planned. Pages it
        published may be unwritten: nobody else holds them, so they go with all else that nobody
        holds."""
        groups = {s.request.id: self._live[s.request.id] for s in sequences} or dict(self._live)
        for group in groups.values():
            self._drop(group)
        self.cache.unsettle(s.table for group in self._live.values() for s in group.live)
        failure = _as_failure(error, "a step")
        return [(group.request, failure) for group in groups.values()]

    def _drop(self, group: Group) -> None:
        """Take a request out, with all that its sequences hold."""
        del self._live[group.request.id]
        for sequence in list(group.live):
            self._forget(sequence, group)
            self.cache.drop(sequence.table)
        group.release()

    def _forget(self, sequence: Sequence, group: Group) -> None:
        group.live.remove(sequence)
        self.planner.remove(sequence)
        if self.speculator is not None:
            self.speculator.proposer.forget(sequence)

    def _free_released(self) -> None:
        self.pins.free_released()

    def _take_loaded(self) -> None:
        self.adapters.poll()
        if self.transfer is not None:
            self.transfer.poll()

    def _wait_for_loads(self, step: Step) -> None:
        """Where nothing can run, sleep a moment and not turn in circles."""
        is_idle = not (step.runs or step.ready or step.refused)
        if is_idle and self.transfer is not None and self.transfer.num_loading:
            self.transfer.wait(_LOAD_WAIT_S)
        elif is_idle and self.adapters.num_loading:
            self.adapters.wait(_LOAD_WAIT_S)

    def _num_pages(self, sequence: Sequence) -> int:
        """What a sequence may need in the end, its adapter included."""
        own = self.cache.pool.pages_for(sequence.longest - 1)
        return own + (sequence.adapter.num_pages if sequence.adapter is not None else 0)

    def _most_pages(self) -> int:
        groups = self._live.values()
        return max((self._num_pages(s) for group in groups for s in group.live), default=0)


def _generation(sequence: Sequence) -> Generation:
    assert sequence.generation is not None, f"{sequence} is not a decode"
    return sequence.generation


def not_finite(ids: Items[int]) -> EngineError:
    """No token can be chosen after these."""
    return EngineError(
        f"the model's logits are not finite (NaN or infinity) after {len(ids)} tokens: its weights "
        "or the adapter are damaged, or a sum overflowed; try dtype='float32' or another file"
    )


def _as_failure(error: Exception, what: str) -> EngineError:
    if isinstance(error, EngineError):
        return error
    failure = EngineError(f"{what} failed: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
