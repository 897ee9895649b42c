"""The thread of an embedded engine: take commands, step, deliver; and what its core must offer.

It sleeps while there is nothing to do, and otherwise empties its inbox before each step, so an
abort takes at most one step. Every request gets an outcome, whatever fails.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from backends.base import Outcome, Part, Request
from backends.errors import EngineError, EngineUnavailable, RequestAborted
from backends.llm.requests.preparation_threads import Prepared
from backends.llm.stats import CacheStats, SpeculationStats
from backends.policy.base import Policy


class Outbox:
    """Filled and flushed by one thread. Calls to one loop keep their order."""

    def __init__(self) -> None:
        self._calls: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}

    def call(
        self, loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: Any
    ) -> None:
        """Call a function on a loop, at the next `flush`."""
        self._calls.setdefault(loop, []).append(partial(function, *args))

    def flush(self) -> None:
        calls, self._calls = self._calls, {}
        for loop, of_loop in calls.items():
            with suppress(RuntimeError):  # the loop is closed: no receiver is left
                loop.call_soon_threadsafe(_call_all, loop, of_loop)


def _call_all(loop: asyncio.AbstractEventLoop, calls: list[Callable[[], None]]) -> None:
    for call in calls:
        try:
            call()
        except Exception as error:  # as the loop does it: one callback harms no other
            loop.call_exception_handler({"message": "a callback failed", "exception": error})


_log = logging.getLogger("teola.llm")

LONGEST_SLEEP_S = 86_400.0  # threads cannot wait for any time

T = TypeVar("T")


class Pins(Protocol):
    """What `kv.pins.Pins` does, between two steps."""

    def pin(self, context: Any) -> int: ...


class SteppedCore(Protocol):
    """What the engine needs of `LLMCore`; so this module imports no torch."""

    @property
    def max_context_tokens(self) -> int: ...

    @property
    def adapter_names(self) -> tuple[str, ...]: ...

    @property
    def num_layers(self) -> int: ...

    @property
    def start_ids(self) -> tuple[int, ...]: ...

    @property
    def has_work(self) -> bool: ...

    @property
    def next_work_s(self) -> float | None: ...

    def prefill_s(self, start: int, end: int) -> float: ...

    def prepare(self, request: Request) -> Any: ...

    def submit(self, prepared: Any) -> None: ...

    def abort(self, request_id: str) -> Request | None: ...

    def encode(
        self,
        parts: Sequence[Part],
        attrs: Mapping[str, Any] | None = None,
        *,
        is_start: bool = True,
    ) -> list[int]: ...

    def tokenizer_info(self) -> Mapping[str, Any]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def flush(self) -> None: ...

    def order_by(self, policy: Policy) -> None: ...

    def read_adapter(self, folder: Path) -> Any: ...

    def load_adapter(self, name: str, folder: Path, read: Any = None) -> None: ...

    def unload_adapter(self, name: str) -> None: ...

    def expect(self, context: object, after_s: float) -> None: ...

    def step(self) -> list[tuple[Request, Outcome]]: ...

    def cache_stats(self) -> CacheStats: ...

    def speculation_stats(self) -> SpeculationStats: ...

    def close(self) -> None: ...

    @property
    def pins(self) -> Pins: ...


@dataclass(frozen=True, slots=True)
class Submit:
    """A request that was read, and the future of its outcome."""

    prepared: Prepared
    future: "asyncio.Future[Outcome]"
    loop: asyncio.AbstractEventLoop


@dataclass(frozen=True, slots=True)
class Call:
    """Something to do between two steps, and the future of its end."""

    run: Callable[[SteppedCore], Any]
    future: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop


class Flush:
    """Forget cached prefixes."""


@dataclass(frozen=True, slots=True)
class OrderBy:
    """Order steps by what queries ask for."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class Abort:
    request_id: str


@dataclass(frozen=True, slots=True)
class Expect:
    """Contexts, and in how many seconds each is expected to be read."""

    uses: Sequence[tuple[Any, float]]


Command = Submit | Abort | Call | Expect | Flush | OrderBy


class Inbox:
    """Commands from any thread to the worker; once closed it takes none, so none is forgotten."""

    def __init__(self) -> None:
        self.wake = threading.Condition()
        self._commands: deque[Command] = deque()
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def send(self, command: Command) -> bool:
        """Whether it will be looked at."""
        with self.wake:
            if self._is_closed:
                return False
            self._commands.append(command)
            self.wake.notify()
            return True

    def wait(self, has_work: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Sleep until there is something to do, or for the time; False when it was closed."""
        if timeout_s is not None:
            timeout_s = min(timeout_s, LONGEST_SLEEP_S)
        with self.wake:
            self.wake.wait_for(lambda: self._commands or has_work() or self._is_closed, timeout_s)
            return not self._is_closed

    def take(self) -> Command | None:
        """The oldest command; None when there is none."""
        return self._commands.popleft() if self._commands else None

    def close(self) -> None:
        with self.wake:
            self._is_closed = True
            self.wake.notify()


class Worker:
    """Runs on the engine's thread until the inbox is closed."""

    def __init__(self, core: SteppedCore, inbox: Inbox, outbox: Outbox) -> None:
        self._core = core
        self._inbox = inbox
        self._outbox = outbox
        self._live: dict[str, Submit] = {}

    def run(self) -> None:
        try:
            self._run()
        except BaseException as error:  # our own mistake: requests still get an outcome
            _log.exception("the engine's thread ends")
            self._inbox.close()
            failure = EngineUnavailable(f"the engine broke: {type(error).__name__}: {error}")
            self._fail_all(failure)

    def _run(self) -> None:
        while self._inbox.wait(lambda: self._core.has_work, self._core.next_work_s):
            self._take_commands()
            self._outbox.flush()
            for request_id, outcome in self._step():
                self._deliver(request_id, outcome)
            self._outbox.flush()
        self._end()

    def _end(self) -> None:
        self._take_commands()
        for request_id in list(self._live):
            self._abort(request_id)
            self._deliver(request_id, EngineUnavailable("the engine was closed"))
        self._outbox.flush()
        self._core.close()

    def _step(self) -> list[tuple[str, Outcome]]:
        try:
            return [(request.id, outcome) for request, outcome in self._core.step()]
        except Exception as error:  # our own mistake: requests still get an outcome
            failure = as_failure(error, "the engine failed")
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
        while command := self._inbox.take():
            if isinstance(command, Submit):
                self._outbox.call(command.loop, settle, command.future, failure)
            elif isinstance(command, Call):
                self._outbox.call(command.loop, settle_with, command.future, failure)
        self._outbox.flush()

    def _take_commands(self) -> None:
        while command := self._inbox.take():
            if isinstance(command, Submit):
                self._add(command)
            elif isinstance(command, Call):
                self._do(command)
            elif isinstance(command, Expect):
                self._expect(command.uses)
            elif isinstance(command, Flush):
                self._flush()
            elif isinstance(command, OrderBy):
                self._order_by(command.policy)
            elif self._abort(command.request_id) and command.request_id in self._live:
                usage = self._live[command.request_id].prepared.usage
                self._deliver(command.request_id, RequestAborted(usage=usage))

    def _expect(self, uses: Sequence[tuple[Any, float]]) -> None:
        try:
            for context, after_s in uses:
                self._core.expect(context, after_s)
        except Exception:  # what is expected changes no answer
            _log.exception("the expected use of contexts could not be noted")

    def _order_by(self, policy: Policy) -> None:
        try:
            self._core.order_by(policy)
        except Exception:  # of a policy of the user's own
            _log.exception("policy %r raised; steps keep the order they had", policy.name)

    def _flush(self) -> None:
        try:
            self._core.flush()
        except Exception:
            _log.exception("the cache could not be emptied")

    def _add(self, submit: Submit) -> None:
        try:
            self._core.submit(submit.prepared)
        except Exception as error:
            failure = as_failure(error, "a request could not be taken in")
            self._outbox.call(submit.loop, settle, submit.future, failure)
        else:
            self._live[submit.prepared.request.id] = submit

    def _do(self, call: Call) -> None:
        try:
            result = call.run(self._core)
        except Exception as error:
            self._outbox.call(call.loop, settle_with, call.future, error)
        else:
            self._outbox.call(call.loop, settle, call.future, result)

    def _deliver(self, request_id: str, outcome: Outcome) -> None:
        submit = self._live.pop(request_id)
        self._outbox.call(submit.loop, settle, submit.future, outcome)


def settle(future: "asyncio.Future[T]", result: T) -> None:
    if not future.done():  # its caller may have been cancelled
        future.set_result(result)


def settle_with(future: "asyncio.Future[T]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def as_failure(error: Exception, what: str) -> EngineError:
    """The outcome of a request that a mistake of ours ended; errors of engines as they are."""
    if isinstance(error, EngineError):
        return error
    failure = EngineError(f"{what}: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
