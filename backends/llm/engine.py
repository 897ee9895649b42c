"""LLMEngine: the Engine protocol around a core (`LLMCore`) whose steps run on a thread of its own.

The event loop puts commands into an inbox and waits on futures; `worker` executes them. Requests
are validated and tokenised before that (`requests.preparation_threads`).
"""

import asyncio
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from backends.base import Capability, Context, EngineInfo, Outcome, Part, Request
from backends.errors import EngineUnavailable
from backends.llm.fusion.fused_prefill import Fuser
from backends.llm.fusion_gate import FusionGate
from backends.llm.inbox import Abort, Call, Expect, Flush, Inbox, OrderBy, Submit
from backends.llm.kv.eviction import EvictionName
from backends.llm.outbox import Outbox
from backends.llm.outcomes import as_failure, settle
from backends.llm.requests.preparation_threads import Preparation, PreparationThreads, Prepared
from backends.llm.stats import CacheStats, SpeculationStats
from backends.llm.stepped_core import SteppedCore
from backends.llm.worker import Worker
from backends.local_engine import in_thread_or_here
from backends.loop_clock import is_virtual
from backends.policy.base import Policy

T = TypeVar("T")
READ_LIMIT_S = 30.0  # tokenising a prompt and compiling a grammar
_LAST_STEP_S = 30.0  # most that the end of the process waits for a step, and for KV saved to disk
CAPABILITIES: frozenset[Capability] = frozenset(
    (
        "prefill",
        "pin",
        "decode_parts",
        "fork",
        "structured",
        "seed",
        "stream",
        "abort",
        "cached_tokens",
        "token_ids",
        "select",
        "logprobs",
        "prompt_logprobs",
        "adapters",
        "repeatable",
        "tools",
        "itl",
        "tool_grammar",
        "fusion",
    )
)


def capabilities_with(eviction: EvictionName) -> frozenset[Capability]:
    """What an engine of this eviction order can do."""
    return CAPABILITIES | {"next_use"} if eviction == "next_use" else CAPABILITIES


class LLMEngine:
    """Runs prefill and decode of one embedded model. `load` is called once, on a thread."""

    def __init__(
        self,
        model: str,
        max_running: int,
        load: Callable[[], SteppedCore],
        read_limit_s: float = READ_LIMIT_S,
        device: str = "",
        capabilities: frozenset[Capability] = CAPABILITIES,
        page_size: int = 16,
        fusion_gate: FusionGate | None = None,
    ) -> None:
        self._load = load
        self._preparation: Preparation = PreparationThreads(read_limit_s)
        self._core: SteppedCore | None = None
        self._thread: threading.Thread | None = None
        self._inbox = Inbox()
        self._outbox = Outbox()  # the thread's
        self._asked_order: Policy | None = None
        self._starting = asyncio.Lock()
        self._fuser = Fuser(self._execute_one, self._abort_one, page_size, self._running_core)
        self._fusion_gate = fusion_gate
        self._info = EngineInfo(
            kind="llm",
            model=model,
            max_batch_items=1,
            num_slots=max_running,
            device=device,
            capabilities=capabilities,
        )

    @property
    def info(self) -> EngineInfo:
        """`max_context_tokens` is known from `start` on."""
        return self._info

    @property
    def adapter_names(self) -> tuple[str, ...]:
        """The adapters that requests may name now."""
        return self._core.adapter_names if self._core is not None else ()

    async def start(self) -> None:
        """Load the model. Raises ConfigError or EngineUnavailable."""
        async with self._starting:
            if self._inbox.is_closed:
                raise EngineUnavailable(f"engine {self._info.model} was closed; make a new one")
            if self._core is None:
                self._core = await self._load_core()
                self._info = replace(self._info, max_context_tokens=self._core.max_context_tokens)
                self._run_worker(self._core)
                if self._asked_order is not None:
                    self._inbox.send(OrderBy(self._asked_order))

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        """Outcomes in the order of `requests`. Cancelling the caller aborts them all."""
        if self._core is None or self._inbox.is_closed:
            return [self._not_running() for _ in requests]
        loop = asyncio.get_running_loop()
        running = [
            self._run_chunks(request) if _has_chunks(request) else self._enter(request, loop)
            for request in requests
        ]
        try:
            return list(await asyncio.gather(*running))
        except asyncio.CancelledError:
            for request in requests:
                self.abort(request.id)
            raise

    def abort(self, request_id: str) -> None:
        if not self._fuser.abort(request_id):
            self._abort_one(request_id)

    def _abort_one(self, request_id: str) -> None:
        if not self._preparation.abort(request_id):
            self._inbox.send(Abort(request_id))

    def encode(
        self,
        parts: Sequence[Part],
        attrs: Mapping[str, Any] | None = None,
        *,
        is_start: bool = True,
    ) -> list[int]:
        """Token ids of a prompt, as its prefill with these tools has them; without `is_start` no
        token stands before a text. Raises RequestRejected."""
        return self._running_core().encode(parts, attrs, is_start=is_start)

    def tokenizer_info(self) -> Mapping[str, Any]:
        """Its markup and its chat template. Raises EngineUnavailable before `start`."""
        return self._running_core().tokenizer_info()

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, markup included. Raises RequestRejected."""
        return self._running_core().decode(ids)

    def flush_cache(self) -> None:
        """Drop every prefix without a holder, before the next request."""
        self._fuser.forget()
        self._inbox.send(Flush())

    def order_by(self, policy: Policy) -> None:
        """From the next step on, unless the engine was made with an order of its own."""
        self._asked_order = policy
        self._inbox.send(OrderBy(policy))

    def cache_stats(self) -> CacheStats:
        """What the KV cache did and holds. Raises EngineUnavailable before `start`."""
        return self._running_core().cache_stats()

    def speculation_stats(self) -> SpeculationStats:
        """What guessed tokens brought. Raises EngineUnavailable before `start`."""
        return self._running_core().speculation_stats()

    async def pin(self, context: Context) -> int:
        """Never evict the KV that the context has now, until its release; how many tokens.
        Raises EngineOverloaded where pins would take too much."""
        return await self.between_steps(lambda core: core.pins.pin(context))

    def expect(self, uses: Sequence[tuple[Context, float]]) -> None:
        """Contexts are expected to be read in so many seconds each: see `backends.base.Expecting`.
        Any thread may call."""
        self._inbox.send(Expect(uses))

    async def between_steps(self, run: Callable[[SteppedCore], T]) -> T:
        """What `run` gives on the engine's thread. Raises what it raised, and EngineUnavailable."""
        if self._core is None or self._inbox.is_closed:
            raise self._not_running()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if not self._inbox.send(Call(run, future, loop)):
            raise self._not_running()
        return await future

    async def load_adapter(self, name: str, folder: str | Path) -> None:
        """Let requests name a LoRA adapter, from the folder that PEFT saved. Steps go on while it
        is read. Raises ConfigError for files that do not fit the model."""
        path = Path(folder).expanduser()
        read = await asyncio.to_thread(self._running_core().read_adapter, path)
        await self.between_steps(lambda core: core.load_adapter(name, path, read))

    async def unload_adapter(self, name: str) -> None:
        """Forget an adapter's name; requests that have come still end with it. Raises ConfigError
        for an unknown name."""
        await self.between_steps(lambda core: core.unload_adapter(name))

    async def close(self) -> None:
        """Stop the thread, fail what still runs, free the model."""
        self._fuser.forget()
        self._inbox.close()
        self._preparation.close()
        await self._join_worker()
        self._core = None

    async def _load_core(self) -> SteppedCore:
        if is_virtual(asyncio.get_running_loop()):
            raise EngineUnavailable(
                f"engine {self._info.model} computes in real time and cannot run on a virtual "
                "clock: take an emulated one, like emulated:h100/llama-3.1-8b"
            )
        return await asyncio.to_thread(self._load)

    def _run_worker(self, core: SteppedCore) -> None:
        worker = Worker(core, self._inbox, self._outbox)
        name = f"llm {self._info.model}"
        self._thread = threading.Thread(target=worker.run, name=name, daemon=True)
        self._thread.start()
        # An engine that nobody closed: Python ends a daemon thread inside torch by an abort.
        weakref.finalize(self, _end_thread, self._inbox, self._thread)

    async def _join_worker(self) -> None:
        if self._thread is not None:
            await in_thread_or_here(None, self._thread.join)
        self._thread = None

    async def _run_chunks(self, request: Request) -> Outcome:
        try:
            if request.op == "encode":
                return await self._fuser.encode(request)
            if self._fusion_gate is not None:
                self._fusion_gate.check(request.attrs["fusion"])
            return await self._fuser.prefill(request)
        except Exception as error:  # a plan's own: others of the batch still get their outcomes
            return as_failure(error, f"{request.op} of chunks failed")

    async def _execute_one(self, request: Request) -> Outcome:
        try:
            return await self._enter(request, asyncio.get_running_loop())
        except EngineUnavailable as error:  # closed between two parts of a request
            return error

    def _enter(
        self, request: Request, loop: asyncio.AbstractEventLoop
    ) -> "asyncio.Future[Outcome]":
        """Read a request and give it to the thread; the future of its outcome."""
        future: asyncio.Future[Outcome] = loop.create_future()
        if request.emit is not None:
            request = replace(request, emit=partial(self._outbox.call, loop, request.emit))
        if request.emit_logprobs is not None:
            tell = partial(self._outbox.call, loop, request.emit_logprobs)
            request = replace(request, emit_logprobs=tell)

        def enter(prepared: Prepared) -> None:
            if not self._inbox.send(Submit(prepared, future, loop)):
                settle(future, self._not_running())

        self._preparation.prepare(request, self._running_core().prepare, future, enter)
        return future

    def _running_core(self) -> SteppedCore:
        if self._core is None:
            raise self._not_running()
        return self._core

    def _not_running(self) -> EngineUnavailable:
        return EngineUnavailable(f"engine {self._info.model} is not running: call start()")


def _has_chunks(request: Request) -> bool:
    return request.op == "encode" or (request.op == "prefill" and "fusion" in request.attrs)


def _end_thread(inbox: Inbox, thread: threading.Thread) -> None:
    inbox.close()
    if thread is not threading.current_thread():  # which may be collecting garbage
        thread.join(_LAST_STEP_S)
