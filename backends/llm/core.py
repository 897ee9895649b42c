"""The engine without its thread: add requests, call `step`, get outcomes."""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Items
from functools import partial
from pathlib import Path
from typing import Any

from backends.base import Part, Request
from backends.errors import RequestRejected
from backends.llm.fusion.linker import Linker
from backends.llm.kv.cache import KVCache
from backends.llm.kv.page_table import PageTable
from backends.llm.kv.pins import Pins
from backends.llm.kv.prefetch import Prefetch
from backends.llm.kv.tiers.open_tiers import open_tiers
from backends.llm.live_requests import Finished, LiveRequests, NoteContext
from backends.llm.lora.adapter import LoadedAdapter
from backends.llm.lora.pool import AdapterPool, AdaptersInMemory
from backends.llm.lora.reader import read_adapter
from backends.llm.model.batch import BatchBuilder, Watch
from backends.llm.model.config import bytes_per_token
from backends.llm.model.step_model import Launched, StepModel
from backends.llm.options import LLMOptions
from backends.llm.planner.latency import LatencyModel
from backends.llm.planner.planner import BatchPlanner, Step
from backends.llm.planner.policies import policy_from
from backends.llm.requests.prompt_encoder import PromptEncoder
from backends.llm.requests.validation import RequestValidator
from backends.llm.sample.grammar import Grammars
from backends.llm.sample.sampler import (
    Sampler,
    SamplingResults,
    sampling_results,
)
from backends.llm.sequence.group import Group
from backends.llm.sequence.sequence import LLMContext
from backends.llm.speculation.speculator import open_speculation
from backends.llm.stats import CacheStats, SpeculationStats
from backends.policy.base import Policy as Ordering

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
        note_context: NoteContext | None = None,
    ) -> None:
        """`identity` names what the weights are; pages on disk are found by it. `draft` has the
        same vocabulary. `sampler` makes a step's results of its logits, `note_context` is told of
        each context that a sequence became."""
        num_pages = max(1, kv_tokens // options.page_size)
        self.model = model
        self.kv = model.make_pool(num_pages, options.page_size)
        latency, stats, in_memory = LatencyModel(), CacheStats(), AdaptersInMemory()
        self.transfer = open_tiers(self.kv, options, identity, model, stats)
        self.cache = KVCache(
            num_pages,
            options.page_size,
            self.kv.copy_page,
            options.eviction,
            price=latency.prefill_s if options.eviction == "pgdsf" else None,
            lower=self.transfer,
            borrower=in_memory,
            stats=stats,
            clock=clock,
        )
        self._prefetch = None
        if self.transfer is not None and options.eviction == "next_use":
            self._prefetch = Prefetch(self.cache, self.transfer, clock)
        read = partial(read_adapter, model=model.config, device=model.device)
        page_bytes = bytes_per_token(model.config, model.dtype) * options.page_size
        self.adapters = AdapterPool(self.cache, in_memory, page_bytes, read, model.adapter_bytes)
        linker = Linker(self.cache, model, self.kv)
        self.planner = BatchPlanner(
            self.cache,
            self.adapters,
            policy_from(options),
            options.token_budget,
            options.max_running,
            options.patience_ms / 1e3,
            clock,
            latency,
            linker,
        )
        self._watched: list[tuple[Watch, int]] = []  # of the step under way, and the first's place
        self._options = options
        self._clock = clock
        self._sampler = sampler
        self.speculator = open_speculation(
            options, self.cache, draft, model.config.vocab_size, clock
        )
        limit = min(options.context_len or model.config.max_positions, model.config.max_positions)
        self._batches = BatchBuilder(self.cache.pool, options.max_running, limit)
        self._prompts = prompts
        released: deque[PageTable] = deque()  # filled by any thread
        self.live = LiveRequests(
            self.cache,
            self.planner,
            self.speculator,
            prompts,
            released,
            linker.scores,
            note_context,
        )
        self.pins = Pins(self.cache, released, options.pin_share, self.live.most_pages)
        grammars = Grammars(prompts.tokenizer, model.config.vocab_size, sorted(prompts.stop_ids))
        self._validator = RequestValidator(
            prompts,
            grammars,
            self.adapters,
            released,
            limit,
            pool_tokens=self.cache.pool.num_tokens,
            vocab_size=model.config.vocab_size,
            jump_forward=options.jump_forward,
            speculates=self.speculator is not None,
        )
        self.max_context_tokens = min(limit, self.cache.pool.num_tokens + 1)
        self.num_steps = 0

    @property
    def num_layers(self) -> int:
        """Of the model."""
        return self.model.config.num_layers

    @property
    def start_ids(self) -> tuple[int, ...]:
        """What a text has before it that begins a prompt."""
        return self._prompts.start_ids

    def prefill_s(self, start: int, end: int) -> float:
        """Expected seconds to compute tokens [start, end) of a prompt. Any thread may ask."""
        return self.planner.latency.prefill_s(start, end)

    @property
    def has_work(self) -> bool:
        is_loading = self.transfer is not None and self.transfer.num_loading > 0
        return bool(self.live.groups) or is_loading

    @property
    def next_work_s(self) -> float | None:
        """In how many seconds there is something to do though nobody asks; None: never."""
        return self._prefetch.next_s if self._prefetch is not None else None

    def encode(
        self,
        parts: Items[Part],
        attrs: Mapping[str, Any] | None = None,
        *,
        is_start: bool = True,
    ) -> list[int]:
        """Token ids of a prompt, with `attrs` for tools. Any thread may call. Raises
        RequestRejected, and RequestTooLong before anything is tokenised for what no context can
        take."""
        return self._validator.encode(parts, attrs or {}, is_start=is_start)

    def tokenizer_info(self) -> Mapping[str, Any]:
        return self._prompts.info

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
        self.live.check_new(group.request.id)
        self.pins.check_room(self.live.pages_of(group))
        self.live.add(group)

    def add(self, request: Request) -> None:
        """Prepare and queue a request. Raises RequestRejected or RequestTooLong."""
        self.submit(self.prepare(request))

    def abort(self, request_id: str) -> Request | None:
        """Drop a request and free its pages; None when it is not here."""
        group = self.live.groups.get(request_id)
        if group is None:
            return None
        self.live.drop(group)
        return group.request

    def expect(self, context: object, after_s: float) -> None:
        """A context is expected to be read in so many seconds; those of other engines pass, and
        times that are none."""
        if not math.isfinite(after_s):
            return
        if isinstance(context, LLMContext) and context.is_of(self.live.released):
            self.cache.expect(context.table, after_s)
            if self._prefetch is not None:
                self._prefetch.expect(context)

    def step(self) -> Finished:
        """Run one step; the requests that finished in it, failed ones with their exception."""
        self.pins.free_released()
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
            return self.live.fail(step.sequences, error)
        self._wait_for_loads(step)
        finished: Finished = []
        for sequence, refusal in step.refused:
            finished += self.live.end(sequence, refusal)
        for sequence in step.ready:
            finished += self.live.finish_prefill(sequence)
        for run, result in zip(step.runs, results, strict=True):
            finished += self.live.take(run, result)
        if self.speculator is not None:
            self.speculator.note(step, elapsed_s)
        return finished

    def order_by(self, policy: Ordering) -> None:
        """From the next step on, unless the options name an order."""
        self.planner.policy = policy_from(self._options, policy)

    def flush(self) -> None:
        """Drop every prefix without a holder, in the lower tiers too."""
        self.pins.free_released()
        if self.transfer is not None:
            self.transfer.flush(self.cache)
        self.cache.forget()

    def close(self) -> None:
        """Save the KV of all prefixes to disk, if there is one. Nothing runs any more."""
        self.adapters.close()
        if self.transfer is not None:
            self.transfer.close(self.cache)

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
        self.pins.free_released()
        running = [sequence.adapter for sequence in self.planner.running]
        self.adapters.check_integrity(running)
        self.cache.check_integrity((*self.live.tables(), *self.adapters.tables()))
        self.pins.check_integrity()
        if self.speculator is not None:
            self.speculator.proposer.check_integrity()

    def _launch(self, step: Step) -> Launched | None:
        """Start what was planned, if there is something to compute."""
        if not step.runs:
            return None
        self.num_steps += 1
        batch = self._batches.build(step.runs)
        self._watched = [(watch, int(batch.positions[watch.start])) for watch in batch.watches]
        return self.model.launch(batch, self.kv)

    def _collect(self, step: Step, launched: Launched | None) -> SamplingResults:
        """The tokens of each run that wants some, when the step is done."""
        if launched is None:
            return []
        output = launched.collect()
        for (watch, place), mass in zip(self._watched, output.masses, strict=True):
            step.runs[watch.span].sequence.note_mass(place, mass)
        return self._sampler(output, step.runs, self._prompts.tokenizer.bytes_of)

    def _take_loaded(self) -> None:
        self.adapters.poll()
        if self.transfer is not None:
            self.transfer.poll(self.cache)
        if self._prefetch is not None:
            self._prefetch.poll()

    def _wait_for_loads(self, step: Step) -> None:
        """Where nothing can run, sleep a moment and not turn in circles."""
        is_idle = not (step.runs or step.ready or step.refused)
        if is_idle and self.transfer is not None and self.transfer.num_loading:
            self.transfer.wait(_LOAD_WAIT_S)
        elif is_idle and self.adapters.num_loading:
            self.adapters.wait(_LOAD_WAIT_S)
