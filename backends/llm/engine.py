"""LLMEngine: the Engine protocol around a core (`LLMCore`) whose steps run on a thread of its own.

The event loop puts commands into an inbox and waits on futures; the thread sleeps while there is
nothing to do, and otherwise empties the inbox before each step, so an abort takes at most one step.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from backends.base import EngineInfo, Outcome, Request
from backends.errors import EngineError, EngineUnavailable
from backends.local_engine import in_thread_or_here


class SteppedCore(Protocol):
    """What the engine needs of `LLMCore`; so this module imports no torch."""

    @property
    def max_context_tokens(self) -> int: ...

    @property
    def has_work(self) -> bool: ...

    def add(self, request: Request) -> None: ...

    def abort(self, request_id: str) -> Request | None: ...

    def flush(self) -> None: ...

    def step(self) -> list[tuple[Request, Outcome]]: ...


@dataclass(frozen=True, slots=True)
class _Submit:
    """A request and the future of its outcome."""

    request: Request
    future: "asyncio.Future[Outcome]"
    loop: asyncio.AbstractEventLoop


class _Flush:
    """Forget cached prefixes."""


@dataclass(frozen=True, slots=True)
class _Abort:
    request_id: str


class LLMEngine:
    """Runs prefill and decode of one embedded model. `load` is called once, on a thread."""

    def __init__(self, model: str, max_running: int, load: Callable[[], SteppedCore]) -> None:
        self._load = load
        self._core: SteppedCore | None = None
        self._thread: threading.Thread | None = None
        self._inbox: deque[_Submit | _Abort | _Flush] = deque()
        self._wake = threading.Condition()
        self._is_closed = False
        self._starting = asyncio.Lock()
        self._info = EngineInfo(
            kind="llm",
            model=model,
            max_batch_items=1,
            num_slots=max_running,
            capabilities=frozenset(
                ("prefill", "fork", "structured", "seed", "stream", "abort", "cached_tokens")
            ),
        )

    @property
    def info(self) -> EngineInfo:
        """`max_context_tokens` is known from `start` on."""
        return self._info

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
                    target=_Worker(self._core, self._inbox, self._wake, self._closed).run,
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
        futures: list[asyncio.Future[Outcome]] = [loop.create_future() for _ in requests]
        self._send(*(_Submit(r, f, loop) for r, f in zip(requests, futures, strict=True)))
        try:
            return list(await asyncio.gather(*futures))
        except asyncio.CancelledError:
            self._send(*(_Abort(request.id) for request in requests))
            raise

    def abort(self, request_id: str) -> None:
        self._send(_Abort(request_id))

    def flush_cache(self) -> None:
        """Forget every prefix that nobody holds, before the next request."""
        self._send(_Flush())

    async def close(self) -> None:
        """Stop the thread, fail what still runs, free the model."""
        with self._wake:
            self._is_closed = True
            self._wake.notify()
        if self._thread is not None:
            await in_thread_or_here(None, self._thread.join)
        self._thread = None
        self._core = None

    def _send(self, *commands: _Submit | _Abort | _Flush) -> None:
        with self._wake:
            self._inbox += commands
            self._wake.notify()

    def _closed(self) -> bool:
        return self._is_closed


class _Worker:
    """The thread: take commands, step, deliver."""

    def __init__(
        self,
        core: SteppedCore,
        inbox: deque[_Submit | _Abort | _Flush],
        wake: threading.Condition,
        is_closed: Callable[[], bool],
    ) -> None:
        self._core = core
        self._inbox = inbox
        self._wake = wake
        self._is_closed = is_closed
        self._live: dict[str, _Submit] = {}

    def run(self) -> None:
        while self._wait():
            self._take_commands()
            for request_id, outcome in self._step():
                self._deliver(request_id, outcome)
        self._take_commands()
        for request_id in list(self._live):
            self._core.abort(request_id)
            self._deliver(request_id, EngineUnavailable("the engine was closed"))

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
                self._core.abort(request_id)
            return [(request_id, failure) for request_id in self._live]

    def _take_commands(self) -> None:
        while self._inbox:
            command = self._inbox.popleft()
            if isinstance(command, _Submit):
                self._add(command)
            elif isinstance(command, _Flush):
                self._core.flush()
            elif self._core.abort(command.request_id) is not None:
                self._deliver(command.request_id, EngineError("the request was aborted"))

    def _add(self, submit: _Submit) -> None:
        request, emit = submit.request, submit.request.emit
        if emit is not None:
            deliver: Callable[[str], Any] = _on_loop(submit.loop, emit)
            request = replace(request, emit=deliver)
        try:
            self._core.add(request)
        except Exception as error:
            failure = (
                error
                if isinstance(error, EngineError)
                else _wrapped(error, "a request could not be read")
            )
            _call(submit.loop, _settle, submit.future, failure)
        else:
            self._live[request.id] = submit

    def _deliver(self, request_id: str, outcome: Outcome) -> None:
        submit = self._live.pop(request_id)
        _call(submit.loop, _settle, submit.future, outcome)


def _settle(future: "asyncio.Future[Outcome]", outcome: Outcome) -> None:
    if not future.done():  # its caller may have been cancelled
        future.set_result(outcome)


def _on_loop(loop: asyncio.AbstractEventLoop, emit: Callable[[str], None]) -> Callable[[str], None]:
    def deliver(piece: str) -> None:
        _call(loop, emit, piece)

    return deliver


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: Any) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
        loop.call_soon_threadsafe(function, *args)


def _wrapped(error: Exception, what: str) -> EngineError:
    failure = EngineError(f"{what}: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
