"""Ties the folders together: a traced program, the optimizer, and the runtime on its own thread."""

import asyncio
import atexit
import os
import threading
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from functools import cache
from typing import Any

from backends.base import Engine, Usage
from backends.policy.application_aware import application_aware
from backends.policy.base import Policy
from backends.registry import EngineSpec
from frontend_dsl.program import Batch, Call, Program, RunListened, RunOptions, Segments
from runtime.cost.profile_store import Latencies
from runtime.door import MAX_QUERIES
from runtime.events import Event, Listener
from runtime.service import Runtime
from teola.background import Background, BackgroundLoop
from teola.batches import progress_bar, run_bounded
from teola.event_streams import Told, aevents_of, events_of, told_query, told_session
from teola.fakes import with_fakes
from teola.known_engines import EngineBook
from teola.listeners import listening
from teola.plan import Plan
from teola.plans import PlanCache, run_on
from teola.query_runs import QueryRuns
from teola.recorders import Recorders
from teola.session_runs import SessionRuns
from teola.stored_runs import RunStores
from teola.telemetry.running import flush_spans
from teola.trace_file import open_trace

CLOSE_TIMEOUT_S = 5.0  # of engines
ENDING_S = 2.0  # of runs that are kept and were cancelled
LOOP_WAIT_S = 0.3  # for a loop to end; one on which an app still runs ends with that


class AppRunner:
    """Runs apps over one runtime. Plans are made once for each program."""

    def __init__(
        self,
        policy: Policy = application_aware,
        background: Background | None = None,
        apps: Background | None = None,
        max_queries: int = MAX_QUERIES,
    ) -> None:
        """`background` has the engines, `apps` the `async def` apps that are called or streamed.
        At most `max_queries` run at once; more are refused."""
        self._background = background or BackgroundLoop("teola", lambda: bool(self.engines))
        self._apps = apps or BackgroundLoop("teola-apps")
        latencies = Latencies()
        self._book = EngineBook(latencies)
        self._plans = PlanCache(self._book)
        self._recorders = Recorders()
        self.run_stores = RunStores()
        self._hear_aborted: tuple[Callable[[Usage], None], ...] = ()
        self._runtime = Runtime(policy, latencies.of, self._take, self._tell_aborted, max_queries)
        self._queries = QueryRuns(
            self._runtime, self._plans, self._recorders, self.run_stores, self._apps
        )
        self._sessions = SessionRuns(
            self._runtime, self._background, self.run_stores, self._queries
        )

    def run(self, program: Program, inputs: Mapping[str, Any], options: RunOptions) -> Any:
        """The app's result; blocks."""
        return self._background.wait(self._queries.run(program, inputs, options))

    def prepare(self, program: Program, options: RunOptions) -> None:
        """Plan it, and what is told of its plan, on the caller's thread."""
        plan = self._plans.ready(program, with_fakes(options))
        if options.listener is not None:
            _ = plan.about

    async def arun(self, program: Program, inputs: Mapping[str, Any], options: RunOptions) -> Any:
        """The app's result, awaited on the caller's own loop."""
        return await asyncio.wrap_future(
            self._background.submit(self._queries.run(program, inputs, options))
        )

    async def run_segments(
        self,
        name: str,
        body: Callable[[Segments], Awaitable[Any]],
        options: RunOptions,
        arguments: Mapping[str, Any],
        engines: Callable[[], Mapping[str, EngineSpec]],
    ) -> Any:
        """Run an `async def` app on the caller's loop, and its segments on the engines'."""
        return await self._sessions.run(name, body, options, arguments, engines)

    def capabilities(self, spec: EngineSpec) -> frozenset[str] | None:
        """What an engine can do; None where that is not known before it runs."""
        info = self._book.known({"it": spec}).engines["it"].info
        return None if info is None else frozenset[str](info.capabilities)

    def drive(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run an `async def` app on a loop of its own, away from the engines', and wait."""
        return self._apps.wait(coroutine)

    async def gather(
        self,
        runs: Callable[[RunOptions], Iterable[Coroutine[Any, Any, Any]]],
        options: RunOptions,
        how: Batch,
    ) -> list[Any]:
        """All results in order, an exception in the place of what failed; one trace file."""
        with listening(options) as each, progress_bar(how) as done:
            return await run_bounded(runs(each), how.at_once, done)

    def stream_session(self, name: str, run: RunListened) -> Iterator[Event]:
        """The events of an `async def` app, which runs on a loop of its own."""
        return events_of(told_session(name, run), self._apps)

    def astream_session(self, name: str, run: RunListened) -> AsyncGenerator[Event, None]:
        """The events of an `async def` app, which runs on the caller's loop."""
        return aevents_of(told_session(name, run), asyncio.create_task)

    def stream(
        self, program: Program, inputs: Mapping[str, Any], options: RunOptions
    ) -> Iterator[Event]:
        """Events as they happen, for a caller that waits on its thread."""
        return events_of(self._told(program, inputs, options), self._background)

    def astream(
        self, program: Program, inputs: Mapping[str, Any], options: RunOptions
    ) -> AsyncGenerator[Event, None]:
        """Events as they happen, for a caller on a loop of its own."""

        def submit(run: Coroutine[Any, Any, None]) -> "asyncio.Future[None]":
            return asyncio.wrap_future(self._background.submit(run))

        return aevents_of(self._told(program, inputs, options), submit)

    def batch(self, calls: Sequence[Call], options: RunOptions, how: Batch) -> list[Any]:
        """All results, in order; a failed call leaves its exception in its place."""
        with open_trace(options) as writer, progress_bar(how) as done:
            each = self._executed(calls, replace(options, trace=None), writer)
            return self._background.wait(run_bounded(each, how.at_once, done))

    async def abatch(self, calls: Sequence[Call], options: RunOptions, how: Batch) -> list[Any]:
        """The same, awaited on the caller's own loop."""
        with open_trace(options) as writer, progress_bar(how) as done:
            each = self._executed(calls, replace(options, trace=None), writer)
            running = run_bounded(each, how.at_once, done)
            return await asyncio.wrap_future(self._background.submit(running))

    def _executed(
        self, calls: Sequence[Call], options: RunOptions, listener: Listener | None
    ) -> Iterator[Coroutine[Any, Any, Any]]:
        for call in calls:
            if isinstance(call, Exception):
                yield _raised(call)
            else:
                yield self._queries.run(*call, options, listener)

    def plan(self, program: Program, options: RunOptions) -> Plan:
        """What each pass does to the program's graph, and what it should save."""
        return self._plans.explained(program, options)

    def encoding(self, program: Program, options: RunOptions) -> Program:
        """A program that computes the KV of items before the program's prompts ask for it."""
        return self._plans.encoding(program, options)

    def load(
        self, engines: Mapping[str, EngineSpec], options: RunOptions
    ) -> Mapping[str, Exception]:
        """Load the engines of an app before it runs; what kept some from it, by their names. Raises
        ConfigError for one that cannot be made. Blocks."""
        return self._background.wait(self._runtime.load(run_on(engines, with_fakes(options))))

    @property
    def engines(self) -> list[tuple[str, Engine]]:
        """Those that were made, with their URLs."""
        return self._runtime.engines

    @contextmanager
    def aborted_told_to(self, listener: Callable[[Usage], None]) -> Iterator[None]:
        """`listener` hears, on the engines' thread, what they computed for cancelled requests."""
        self._hear_aborted = (*self._hear_aborted, listener)
        try:
            yield
        finally:
            self._hear_aborted = tuple(one for one in self._hear_aborted if one is not listener)

    def _tell_aborted(self, usage: Usage) -> None:
        for listener in self._hear_aborted:
            listener(usage)

    def drain(self, timeout_s: float | None = None) -> bool:
        """Take no new query, and wait for those that run; whether all have ended by then."""
        return self._background.submit(self._runtime.drain(timeout_s)).result()

    def close(self) -> None:
        """Stop all engines and end the loops. Apps may run again after; engines are then made anew.
        Any thread may call but the engines' own: raises RuntimeError there."""
        self._background.check_may_wait()
        flush_spans()
        try:
            self._background.submit(self._stop()).result(CLOSE_TIMEOUT_S)
        finally:
            self._end_loops(LOOP_WAIT_S)

    async def aclose(self) -> None:
        """The same, awaited on any loop; spans that are on their way are not waited for."""
        try:
            await asyncio.wrap_future(self._background.submit(self._stop()))
        finally:
            self._end_loops()

    async def _stop(self) -> None:
        await self._runtime.close()
        self._runtime.door.open()
        await self._book.close()
        self._recorders.close()
        await self.run_stores.until_ended(ENDING_S)
        self.run_stores.close()

    def _end_loops(self, wait_s: float = 0.0) -> None:
        for loop in (self._background, self._apps):
            loop.close(wait_s)

    def forget(self, specs: Iterable[EngineSpec]) -> None:
        """Free the engines of these specs, which nobody will ask for again."""
        keys = [spec.key for spec in specs]
        if keys:
            self._background.submit(self._forget(keys))

    async def _forget(self, keys: Sequence[str]) -> None:
        self._book.forget(keys)
        await self._runtime.forget(keys)

    def _take(self, spec: EngineSpec) -> Engine:
        return self._book.take(spec)

    def _told(self, program: Program, inputs: Mapping[str, Any], options: RunOptions) -> Told:
        return told_query(lambda listen: self._queries.run(program, inputs, options, listen))


async def _raised(error: Exception) -> Any:
    raise error


_making = threading.Lock()
_chosen: ContextVar[AppRunner | None] = ContextVar("teola_runner", default=None)


@contextmanager
def chosen_runner(runner: AppRunner) -> Iterator[None]:
    """Apps that run within have this runner."""
    token = _chosen.set(runner)
    try:
        yield
    finally:
        _chosen.reset(token)


def default_runner() -> AppRunner:
    """The chosen runner, or that of this process; its engines are closed when the process ends."""
    if (chosen := _chosen.get()) is not None:
        return chosen
    with _making:  # threads that come first together get the same one
        return _default_runner()


def has_default_runner() -> bool:
    """Whether any app of this process has asked for it."""
    return bool(_default_runner.cache_info().currsize)


@cache
def _default_runner() -> AppRunner:
    runner = AppRunner()
    atexit.register(_close_at_exit, runner, os.getpid())
    return runner


def _close_at_exit(runner: AppRunner, pid: int) -> None:
    if os.getpid() != pid:  # a fork has no threads to close, and its parent goes on
        return
    with suppress(RuntimeError):  # it was closed before, and no thread can start any more
        runner.close()
