"""Prepares requests (validation, tokenising, grammar compilation) before they enter the core.

Short prompts are prepared on the caller's thread. Long ones have a thread pool, so that no step
waits for them; grammars, which may take longest, have a second pool, so that no prompt waits for
them.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from backends.base import Outcome, Request, Tokens, Usage
from backends.errors import (
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    RequestAborted,
    RequestRejected,
)
from backends.llm.outcomes import as_failure, settle
from backends.llm.requests.open_turn import tools_of

_LIGHT_CHARS = 4096  # tokenised in less time than a thread takes to wake
_TURN_CHARS = 32
_GRAMMARS = ("schema", "regex", "choices", "tools")


class Prepared(Protocol):
    """A prepared request (`group.Group`)."""

    @property
    def request(self) -> Request: ...

    @property
    def usage(self) -> Usage:
        """What it has cost so far."""


Prepare = Callable[[Request], Prepared]


class Preparation(Protocol):
    """Where requests are prepared."""

    def prepare(
        self,
        request: Request,
        prepare: Prepare,
        outcome: "asyncio.Future[Outcome]",
        enter: Callable[[Prepared], None],
    ) -> None:
        """Call `enter` with the prepared request, or answer it."""

    def abort(self, request_id: str) -> bool:
        """Answer a request that is being read; False when none is."""

    def close(self) -> None:
        """Answer what is being read."""


def prepare_here(
    request: Request,
    prepare: Prepare,
    outcome: "asyncio.Future[Outcome]",
    enter: Callable[[Prepared], None],
) -> None:
    """As `Preparation.prepare`, at once."""
    try:
        prepared = prepare(request)
    except Exception as error:
        settle(outcome, as_failure(error, "a request could not be read"))
    else:
        enter(prepared)


class PreparationThreads:
    """Used on event loops. A request may wait `limit_s` for a thread, and its preparation may take
    `limit_s`."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="llm prepare")
        self._grammar_threads = ThreadPoolExecutor(4, thread_name_prefix="llm grammar")
        self._reading: dict[str, asyncio.Future[Outcome]] = {}
        self._has_torch = False

    def prepare(
        self,
        request: Request,
        prepare: Prepare,
        outcome: "asyncio.Future[Outcome]",
        enter: Callable[[Prepared], None],
    ) -> None:
        """Call `enter` with the prepared request, now or later on the loop of `outcome`. Failures,
        aborts and the time limit go into `outcome`, and `enter` is not called."""
        imports = not self._has_torch and _needs_torch(request)
        if not imports and _is_light(request):
            prepare_here(request, prepare, outcome, enter)
            return
        loop = outcome.get_loop()
        self._reading[request.id] = outcome
        limit = _Limit(self._limit_s, outcome)

        def work() -> Prepared:
            loop.call_soon_threadsafe(limit.restart)
            if imports:
                self._import_torch()
            return prepare(request)

        threads = self._grammar_threads if _has_grammar(request) else self._threads
        done = loop.run_in_executor(threads, work)
        done.add_done_callback(partial(self._finish, request.id, outcome, limit, enter))
        outcome.add_done_callback(lambda _: done.cancel())  # an answered request leaves the queue

    def abort(self, request_id: str) -> bool:
        """Answer a request that is being read; False when none is."""
        outcome = self._reading.pop(request_id, None)
        if outcome is not None:
            settle(outcome, RequestAborted())
        return outcome is not None

    def close(self) -> None:
        """Answer what is being read; its threads end when it is."""
        for threads in (self._threads, self._grammar_threads):
            threads.shutdown(wait=False, cancel_futures=True)
        while self._reading:
            _, outcome = self._reading.popitem()
            settle(outcome, EngineUnavailable("the engine was closed"))

    def _import_torch(self) -> None:
        import torch  # noqa: F401

        self._has_torch = True

    def _finish(
        self,
        request_id: str,
        outcome: "asyncio.Future[Outcome]",
        limit: "_Limit",
        enter: Callable[[Prepared], None],
        done: "asyncio.Future[Prepared]",
    ) -> None:
        limit.cancel()
        if self._reading.get(request_id) is outcome:
            del self._reading[request_id]
        if done.cancelled():
            settle(outcome, EngineUnavailable("the engine was closed"))
        elif (error := done.exception()) is not None:
            settle(outcome, as_failure(error, "a request could not be read"))
        elif not outcome.done():
            enter(done.result())


class _Limit:
    """Answers a request that no thread takes in time, or that takes its thread too long."""

    def __init__(self, seconds: float, outcome: "asyncio.Future[Outcome]") -> None:
        self._seconds = seconds
        self._outcome = outcome
        self._timer = self._start(
            EngineOverloaded(
                f"the request waited {seconds:g} s to be read, behind others with long prompts or "
                "heavy grammars: try again later"
            )
        )

    def restart(self) -> None:
        """A thread has taken the request. On the loop."""
        self._timer.cancel()
        if not self._outcome.done():
            self._timer = self._start(
                RequestRejected(
                    f"reading the request took more than {self._seconds:g} s: a simpler grammar or "
                    "a shorter prompt will do"
                )
            )

    def cancel(self) -> None:
        self._timer.cancel()

    def _start(self, failure: EngineError) -> asyncio.TimerHandle:
        loop = self._outcome.get_loop()
        return loop.call_later(self._seconds, settle, self._outcome, failure)


def _has_grammar(request: Request) -> bool:
    """Also where tools are: a new set takes a while, its template and its grammar."""
    if any(request.attrs.get(name) is not None for name in _GRAMMARS):
        return True
    context = request.inputs[0] if request.inputs else None
    return request.op == "decode" and tools_of(getattr(context, "turn", None)) is not None


def _needs_torch(request: Request) -> bool:
    """To draw its tokens, or tell log-probabilities. What the C++ kernels do needs none, and
    importing it takes a second: here, once, and not in a step."""
    attrs = request.attrs
    draws = bool(attrs.get("temperature")) or attrs.get("logprobs") is not None
    return draws or request.op == "select"


def _is_light(request: Request) -> bool:
    if _has_grammar(request):
        return False
    size = 0
    for value in request.inputs:
        size += _size(value)
        if size > _LIGHT_CHARS:
            return False
    return True


def _size(value: object) -> int:
    """Of a part or the choices of a select: its characters or token ids."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Tokens):
        return len(value.ids)
    if isinstance(value, list | tuple):
        return sum(len(text) for text in value if isinstance(text, str)) + len(value)
    return _TURN_CHARS
