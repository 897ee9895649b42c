"""LLMEngine: the Engine protocol around a core (`LLMCore`) whose steps run on a thread of its own.

The event loop puts commands into an inbox and waits on futures; the thread sleeps while there is
nothing to do, and otherwise empties the inbox before each step, so an abort takes at most one step.
Requests are read before they get there (`reader`).
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from backends.base import Context, EngineInfo, Outcome, Part, Request
from backends.errors import EngineError, EngineUnavailable
from backends.llm.cache_stats import CacheStats
from backends.llm.outbox import Outbox
from backends.llm.reader import Prepared, Reader
from backends.llm.speculation.stats import SpeculationStats
from backends.local_engine import in_thread_or_here

_log = logging.getLogger("teola.llm")

T = TypeVar("T")
READ_LIMIT_S = 30.0  # tokenising a prompt and compiling a grammar


class ContextHints(Protocol):
    """What `hints.Hints` does, between two steps."""

    def pin(self, context: Any) -> int: ...

    def unpin(self, context: Any) -> None: ...

    def retain(self, context: Any, seconds: float) -> None: ...

    def expect(self, context: Any, next_use: float) -> None: ...

    def demote(self, context: Any) -> None: ...

    def prefetch(self, context: Any) -> int: ...


class SteppedCore(Protocol):
    """What the engine needs of `LLMCore`; so this module imports no torch."""

    @property
    def max_context_tokens(self) -> int: ...

    @property
    def adapter_names(self) -> tuple[str, ...]: ...

    @property
    def has_work(self) -> bool: ...

    def prepare(self, request: Request) -> Any: ...

    def submit(self, prepared: Any) -> None: ...

    def abort(self, request_id: str) -> Request | None: ...

    def encode(self, parts: Sequence[Part]) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def flush(self) -> None: ...

    def load_adapter(self, name: str, folder: Path) -> None: ...

    def unload_adapter(self, name: str) -> None: ...

    def step(self) -> list[tuple[Request, Outcome]]: ...

    def cache_stats(self) -> CacheStats: ...

    def speculation_stats(self) -> SpeculationStats: ...

    def close(self) -> None: ...

    @property
    def hints(self) -> ContextHints: ...


@dataclass(frozen=True, slots=True)
class _Submit:
    """A request that was read, and the future of its outcome."""

    prepared: Prepared
    future: "asyncio.Future[Outcome]"
    loop: asyncio.AbstractEventLoop


@dataclass(frozen=True, slots=True)
class _Call:
    """Something to do between two steps, and the future of its end."""

    run: Callable[[SteppedCore], Any]
    future: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop


class _Flush:
    """Forget cached prefixes."""


@dataclass(frozen=True, slots=True)
class _Abort:
    request_id: str


_Command = _Submit | _Abort | _Call | _Flush


class LLMEngine:
    """Runs prefill and decode of one embedded model. `load` is called once, on a thread."""

    def __init__(
        self,
        model: str,
        max_running: int,
        load: Callable[[], SteppedCore],
        read_limit_s: float = READ_LIMIT_S,
    ) -> None:
        self._load = load
        self._reader = Reader(read_limit_s)
        self._core: SteppedCore | None = None
        self._thread: threading.Thread | None = None
        self._inbox: deque[_Command] = deque()
        self._outbox = Outbox()  # the thread's
        self._wake = threading.Condition()
        self._is_closed = False
        self._starting = asyncio.Lock()
        self._info = EngineInfo(
            kind="llm",
            model=model,
            max_batch_items=1,
            num_slots=max_running,
            capabilities=frozenset(
                (
                    "prefill",
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
                    "adapters",
                )
            ),
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
            if self._is_closed:
                raise EngineUnavailable(f"engine {self._info.model} was closed; make a new one")
            if self._core is None:
                self._core = await asyncio.to_thread(self._load)
                self._info = replace(self._info, max_context_tokens=self._core.max_context_tokens)
                name = f"llm {self._info.model}"
                self._thread = threading.Thread(
                    target=_Worker(
                        self._core,
                        self._inbox,
                        self._outbox,
                        self._wake,
                        self._closed,
                        self._give_up,
                    ).run,
                    name=name,
                    daemon=True,
                )
                self._thread.start()

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        """Outcomes in the order of `requests`. Cancelling the caller aborts them all."""
        if self._thread is None or self._is_closed:
            failure = EngineUnavailable(f"engine {self._info.model} is not running: call start()")
            return [failure for _ in requests]
        loop = asyncio.get_running_loop()
        futures = [self._enter(request, loop) for request in requests]
        try:
            return list(await asyncio.gather(*futures))
        except asyncio.CancelledError:
            for request in requests:
                self.abort(request.id)
            raise

    def abort(self, request_id: str) -> None:
        if not self._reader.abort(request_id):
            self._send(_Abort(request_id))

    def encode(self, parts: Sequence[Part]) -> list[int]:
        """Token ids of a prompt, as its prefill has them. Raises RequestRejected."""
        return self._running_core().encode(parts)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, markup included. Raises RequestRejected."""
        return self._running_core().decode(ids)

    def flush_cache(self) -> None:
        """Forget every prefix that nobody holds, before the next request."""
        self._send(_Flush())

    def cache_stats(self) -> CacheStats:
        """What the KV cache did and holds. Raises EngineUnavailable before `start`."""
        return self._running_core().cache_stats()

    def speculation_stats(self) -> SpeculationStats:
        """What guessed tokens brought. Raises EngineUnavailable before `start`."""
        return self._running_core().speculation_stats()

    async def pin(self, context: Context) -> int:
        """Never evict the KV that the context has now, until `unpin` or its release; how many
        tokens. Raises EngineOverloaded where pins would take too much."""
        return await self._between_steps(lambda core: core.hints.pin(context))

    async def unpin(self, context: Context) -> None:
        await self._between_steps(lambda core: core.hints.unpin(context))

    async def retain(self, context: Context, seconds: float) -> None:
        """Evict others first, until the context's next use or for the time."""
        await self._between_steps(lambda core: core.hints.retain(context, seconds))

    async def expect(self, context: Context, next_use: float) -> None:
        """When the context will be used next, on any scale: for `eviction="next_use"`."""
        await self._between_steps(lambda core: core.hints.expect(context, next_use))

    async def demote(self, context: Context) -> None:
        """The context is not needed for a while: its KV moves down a tier, or goes first."""
        await self._between_steps(lambda core: core.hints.demote(context))

    async def prefetch(self, context: Context) -> int:
        """Start to bring a context's KV back before its use: how many tokens it will have."""
        return await self._between_steps(lambda core: core.hints.prefetch(context))

    async def load_adapter(self, name: str, folder: str | Path) -> None:
        """Let requests name a LoRA adapter, from the folder that PEFT saved. Steps wait while it is
        read. Raises ConfigError for files that do not fit the model."""
        path = Path(folder).expanduser()
        await self._between_steps(lambda core: core.load_adapter(name, path))

    async def unload_adapter(self, name: str) -> None:
        """Forget an adapter's name; requests that have come still end with it. Raises ConfigError
        for an unknown name."""
        await self._between_steps(lambda core: core.unload_adapter(name))

    async def close(self) -> None:
        """Stop the thread, fail what still runs, free the model."""
        with self._wake:
            self._is_closed = True
            self._wake.notify()
        self._reader.close()
        if self._thread is not None:
            await in_thread_or_here(None, self._thread.join)
        self._thread = None
        self._core = None

    async def _between_steps(self, run: Callable[[SteppedCore], T]) -> T:
        if self._thread is None or self._is_closed:
            raise EngineUnavailable(f"engine {self._info.model} is not running: call start()")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._send(_Call(run, future, loop))
        return await future

    def _enter(
        self, request: Request, loop: asyncio.AbstractEventLoop
    ) -> "asyncio.Future[Outcome]":
        """Read a request and give it to the thread; the future of its outcome."""
        future: asyncio.Future[Outcome] = loop.create_future()
        if request.emit is not None:
            request = replace(request, emit=partial(self._outbox.call, loop, request.emit))

        def enter(prepared: Prepared) -> None:
            self._send(_Submit(prepared, future, loop))

        self._reader.read(request, self._running_core().prepare, future, enter)
        return future

    def _send(self, *commands: _Command) -> None:
        with self._wake:
            self._inbox += commands
            self._wake.notify()

    def _running_core(self) -> SteppedCore:
        if self._core is None:
            raise EngineUnavailable(f"engine {self._info.model} is not running: call start()")
        return self._core

    def _closed(self) -> bool:
        return self._is_closed

    def _give_up(self) -> None:
        """The thread cannot go on: whoever comes from now on is told at once."""
        with self._wake:
            self._is_closed = True


class _Worker:
    """The thread: take commands, step, deliver."""

    def __init__(
        self,
        core: SteppedCore,
        inbox: deque[_Command],
        outbox: Outbox,
        wake: threading.Condition,
        is_closed: Callable[[], bool],
        give_up: Callable[[], None],
    ) -> None:
        self._core = core
        self._inbox = inbox
        self._outbox = outbox
        self._wake = wake
        self._is_closed = is_closed
        self._give_up = give_up
        self._live: dict[str, _Submit] = {}

    def run(self) -> None:
        try:
            self._run()
        except BaseException as error:  # our own mistake: still nobody may wait for ever
            _log.exception("the engine's thread ends")
            self._give_up()
            failure = EngineUnavailable(f"the engine broke: {type(error).__name__}: {error}")
            self._fail_all(failure)

    def _run(self) -> None:
        while self._wait():
            self._take_commands()
            self._outbox.flush()
            for request_id, outcome in self._step():
                self._deliver(request_id, outcome)
            self._outbox.flush()
        self._take_commands()
        for request_id in list(self._live):
            self._abort(request_id)
            self._deliver(request_id, EngineUnavailable("the engine was closed"))
        self._outbox.flush()
        self._core.close()

    def _wait(self) -> bool:
        """Sleep until there is something to do; False when the engine was closed."""
        with self._wake:
            self._wake.wait_for(lambda: self._inbox or self._core.has_work or self._is_closed())
            return not self._is_closed()

    def _step(self) -> list[tuple[str, Outcome]]:
        try:
            return [(request.id, outcome) for request, outcome in self._core.step()]
        except Exception as error:  # our own mistake: still nobody may wait for ever
            failure = _wrapped(error, "the engine failed")
            for request_id in self._live:
                self._abort(request_id)
            return [(request_id, failure) for request_id in self._live]

    def _abort(self, request_id: str) -> bool:
        """Whether it was here; what a broken core does meanwhile harms no other request."""
        try:
            return self._core.abort(request_id) is not None
        except Exception:
            _log.exception("a request could not be dropped")
            return True

    def _fail_all(self, failure: EngineError) -> None:
        for request_id in list(self._live):
            self._deliver(request_id, failure)
        while self._inbox:
            command = self._inbox.popleft()
            if isinstance(command, _Submit):
                self._outbox.call(command.loop, _settle, command.future, failure)
            elif isinstance(command, _Call):
                self._outbox.call(command.loop, _settle_with, command.future, failure)
        self._outbox.flush()

    def _take_commands(self) -> None:
        while self._inbox:
            command = self._inbox.popleft()
            if isinstance(command, _Submit):
                self._add(command)
            elif isinstance(command, _Call):
                self._do(command)
            elif isinstance(command, _Flush):
                self._flush()
            elif self._abort(command.request_id) and command.request_id in self._live:
                self._deliver(command.request_id, EngineError("the request was aborted"))

    def _flush(self) -> None:
        try:
            self._core.flush()
        except Exception:
            _log.exception("the cache could not be emptied")

    def _add(self, submit: _Submit) -> None:
        try:
            self._core.submit(submit.prepared)
        except Exception as error:
            failure = (
                error
                if isinstance(error, EngineError)
                else _wrapped(error, "a request could not be taken in")
            )
            self._outbox.call(submit.loop, _settle, submit.future, failure)
        else:
            self._live[submit.prepared.request.id] = submit

    def _do(self, call: _Call) -> None:
        try:
            result = call.run(self._core)
        except Exception as error:
            self._outbox.call(call.loop, _settle_with, call.future, error)
        else:
            self._outbox.call(call.loop, _settle, call.future, result)

    def _deliver(self, request_id: str, outcome: Outcome) -> None:
        submit = self._live.pop(request_id)
        self._outbox.call(submit.loop, _settle, submit.future, outcome)


def _settle(future: "asyncio.Future[T]", result: T) -> None:
    if not future.done():  # its caller may have been cancelled
        future.set_result(result)


def _settle_with(future: "asyncio.Future[T]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _wrapped(error: Exception, what: str) -> EngineError:
    failure = EngineError(f"{what}: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
