"""Ties the rooms together: a traced program, the optimizer, and the runtime on its own thread."""

import asyncio
import atexit
import threading
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

from backends.base import Context
from backends.errors import ConfigError
from backends.registry import EngineSpec
from frontend_dsl.program import Program, RunListened, RunOptions, Segments
from graph_opt.graph import Graph
from graph_opt.paths import walk
from graph_opt.pipeline import PASSES, optimize
from runtime.cost.profile_store import Latencies
from runtime.events import Event, Listener
from runtime.hints import hints_of
from runtime.layout import Layout, layout_of
from runtime.outputs import Outputs
from runtime.policy.application_aware import application_aware
from runtime.policy.base import Policy
from runtime.service import Runtime
from runtime.session import Session
from teola.background import BackgroundLoop
from teola.estimate import estimate, predictions
from teola.event_streams import Told, aevents_of, events_of, told_query, told_session
from teola.known_engines import EngineBook, KnownEngines
from teola.plan import Plan, make_plan
from teola.trace_file import TraceWriter

CLOSE_TIMEOUT_S = 5.0


class AppRunner:
    """Runs apps over one runtime. Plans are made once for each program."""

    def __init__(self, policy: Policy = application_aware) -> None:
        self._background = BackgroundLoop()
        self._apps = BackgroundLoop("teola-apps")  # of `async def` apps that are called or streamed
        latencies = Latencies()
        self._book = EngineBook(latencies)
        self._runtime = Runtime(policy, latencies.of)
        self._layouts: WeakKeyDictionary[Program, dict[Hashable, Layout]] = WeakKeyDictionary()

    def run(self, program: Program, inputs: Mapping[str, Any], options: RunOptions) -> Any:
        """The app's result; blocks."""
        return self._background.wait(self._execute_one(program, inputs, options))

    async def arun(self, program: Program, inputs: Mapping[str, Any], options: RunOptions) -> Any:
        """The app's result, awaited on the caller's own loop."""
        return await asyncio.wrap_future(
            self._background.submit(self._execute_one(program, inputs, options))
        )

    async def run_segments(
        self,
        name: str,
        body: Callable[[Segments], Awaitable[Any]],
        options: RunOptions,
    ) -> Any:
        """Run an `async def` app on the caller's loop, and its segments on the engines'."""
        with self._listening(options) as own:

            async def start(program: Program, inputs: Mapping[str, Any], outputs: Outputs) -> None:
                running = self._execute(program, inputs, _of_segment(own, program), outputs=outputs)
                await asyncio.wrap_future(self._background.submit(running))

            session = Session(name, start, self._release, is_plain=not own.optimize)
            return await session.run(body, own.timeout_s)

    def _release(self, context: Context) -> "Future[None]":
        async def release() -> None:
            context.release()

        return self._background.submit(release())

    def drive(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run an `async def` app on a loop of its own, away from the engines', and wait."""
        return self._apps.wait(coroutine)

    async def gather(
        self, runs: Callable[[RunOptions], Iterable[Coroutine[Any, Any, Any]]], options: RunOptions
    ) -> list[Any]:
        """All results in order, an exception in the place of what failed; one trace file."""
        with self._listening(options) as each:
            return await asyncio.gather(*runs(each), return_exceptions=True)

    def stream_session(self, name: str, run: RunListened) -> Iterator[Event]:
        """The events of an `async def` app, which runs on a loop of its own."""
        return events_of(told_session(name, run), self._apps.submit)

    def astream_session(self, name: str, run: RunListened) -> AsyncGenerator[Event, None]:
        """The events of an `async def` app, which runs on the caller's loop."""
        return aevents_of(told_session(name, run), asyncio.create_task)

    @contextmanager
    def _listening(self, options: RunOptions) -> Iterator[RunOptions]:
        """The options with their trace file, if any, open for several queries."""
        with open_trace(options.trace) as writer:
            listeners = [to for to in (options.listener, writer) if to is not None]
            yield replace(options, trace=None, listener=_tell_all(listeners))

    def stream(
        self, program: Program, inputs: Mapping[str, Any], options: RunOptions
    ) -> Iterator[Event]:
        """Events as they happen, for a caller that waits on its thread."""
        return events_of(self._told(program, inputs, options), self._background.submit)

    def astream(
        self, program: Program, inputs: Mapping[str, Any], options: RunOptions
    ) -> AsyncGenerator[Event, None]:
        """Events as they happen, for a caller on a loop of its own."""

        def submit(run: Coroutine[Any, Any, None]) -> "asyncio.Future[None]":
            return asyncio.wrap_future(self._background.submit(run))

        return aevents_of(self._told(program, inputs, options), submit)

    def batch(
        self, calls: Sequence[tuple[Program, Mapping[str, Any]]], options: RunOptions
    ) -> list[Any]:
        """All results, in order; a failed call leaves its exception in its place."""

        async def run_all(listener: Listener | None) -> list[Any]:
            each = replace(options, trace=None)
            runs = (self._execute_one(program, inputs, each, listener) for program, inputs in calls)
            return await asyncio.gather(*runs, return_exceptions=True)

        with open_trace(options.trace) as writer:
            return self._background.wait(run_all(writer))

    def plan(self, program: Program, options: RunOptions) -> Plan:
        """What each pass does to the program's graph, and what it should save."""
        engines = override(program.engines, options.engines)
        passes = PASSES if options.passes is None else options.passes
        return make_plan(program.graph, self._book.known(engines), passes)

    def close(self) -> None:
        """Stop all engines. Apps may run again after; engines are then made anew."""
        self._background.submit(self._runtime.close()).result(CLOSE_TIMEOUT_S)

    def _told(self, program: Program, inputs: Mapping[str, Any], options: RunOptions) -> Told:
        return told_query(lambda listen: self._execute_one(program, inputs, options, listen))

    async def _execute_one(
        self,
        program: Program,
        inputs: Mapping[str, Any],
        options: RunOptions,
        listener: Listener | None = None,
    ) -> Any:
        (result,) = await self._execute(program, inputs, options, listener)
        return result

    async def _execute(
        self,
        program: Program,
        inputs: Mapping[str, Any],
        options: RunOptions,
        listener: Listener | None = None,
        outputs: Outputs | None = None,
    ) -> list[Any]:
        engines = override(program.engines, options.engines)
        known = self._book.known(engines)
        layout = self._layout(program, options, known)
        own = outputs and outputs.renamed(program.graph.outputs, layout.graph.outputs)
        with open_trace(options.trace) as writer:
            listeners = [to for to in (listener, options.listener, writer) if to is not None]
            about = about_run(layout.graph, options, known) if listeners else {}
            return await self._runtime.run(
                layout,
                inputs,
                engines,
                program.symbols,
                about=about,
                listener=_tell_all(listeners),
                timeout_s=options.timeout_s,
                memo=options.memo,
                salt=options.salt,
                outputs=own,
            )

    def _layout(self, program: Program, options: RunOptions, known: KnownEngines) -> Layout:
        """The plan for these engines and passes, made when it is first asked for."""
        layouts = self._layouts.setdefault(program, {})
        passes = PASSES if options.passes is None else options.passes
        key = (known.key, passes if options.optimize else None, options.objective)
        if key not in layouts:
            graph = program.graph
            if options.optimize:
                graph = optimize(graph, passes, known.facts(graph))
            layouts[key] = layout_of(graph, hints_of(graph, known.cost(graph), options.objective))
        return layouts[key]


def about_run(graph: Graph, options: RunOptions, known: KnownEngines) -> dict[str, Any]:
    """What the first event of a query says of it."""
    return {
        "app": graph.name,
        "optimized": options.optimize,
        "began": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "graph": str(graph),
        "origins": origins_of(graph),
        "plan": expectation(graph, known),
    }


def _of_segment(options: RunOptions, program: Program) -> RunOptions:
    """An app's options for one of its segments: it has some of the app's engines, and its time."""
    engines = {name: url for name, url in options.engines.items() if name in program.engines}
    return replace(options, engines=engines, timeout_s=None)


def open_trace(path: str | None) -> AbstractContextManager[Listener | None]:
    """The writer of a trace file, or nothing."""
    return nullcontext() if path is None else TraceWriter(path)


def override(engines: Mapping[str, EngineSpec], urls: Mapping[str, str]) -> dict[str, EngineSpec]:
    """The engines with some replaced by name; a replaced one's options are its URL's own."""
    for name in urls:
        if name not in engines:
            known = ", ".join(sorted(engines)) or "none"
            raise ConfigError(f"the app has no engine named {name!r}; it has {known}")
    return {
        name: EngineSpec(spec.kind, urls[name]) if name in urls else spec
        for name, spec in engines.items()
    }


def origins_of(graph: Graph) -> dict[str, list[Any]]:
    """Node path (`graph_opt.paths`) -> [call, file, line]."""
    return {
        path: [node.origin.call, node.origin.file, node.origin.line]
        for path, node, _ in walk(graph)
        if node.origin is not None
    }


def expectation(graph: Graph, known: KnownEngines) -> dict[str, Any]:
    """What a trace keeps of the plan, for `teola trace --plan`."""
    cost = known.cost(graph)
    expected = estimate(graph, cost, known.batch_items)
    seconds = predictions(graph, cost)
    return {
        "seconds": {path: round(value, 6) for path, value in seconds.items()},
        "path_s": round(expected.path_s, 6),
        "path": [step.node for step in expected.path],
        "work_s": round(expected.total_work_s, 6),
        "sources": dict(known.sources),
    }


def _tell_all(listeners: Sequence[Callable[[Event], None]]) -> Listener | None:
    if not listeners:
        return None

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell


_making = threading.Lock()


def default_runner() -> AppRunner:
    """The runner of this process; its engines are closed when the process ends."""
    with _making:  # threads that come first together get the same one
        return _default_runner()


def has_default_runner() -> bool:
    """Whether any app of this process has asked for it."""
    return bool(_default_runner.cache_info().currsize)


@cache
def _default_runner() -> AppRunner:
    runner = AppRunner()
    atexit.register(runner.close)
    return runner
