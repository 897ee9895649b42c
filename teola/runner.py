"""Ties the rooms together: a traced program, the optimizer, and the runtime on its own thread."""

import asyncio
import atexit
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

from backends.errors import ConfigError
from backends.registry import EngineSpec
from frontend_dsl.app import Program, RunOptions
from graph_opt.graph import Graph
from graph_opt.pipeline import optimize
from runtime.events import Event, Listener
from runtime.layout import Layout, layout_of
from runtime.service import Runtime
from teola.background import BackgroundLoop
from teola.plan import Plan, make_plan
from teola.trace import TraceWriter

CLOSE_TIMEOUT_S = 5.0


class AppRunner:
    """Runs apps over one runtime. Plans are made once for each program."""

    def __init__(self) -> None:
        self._background = BackgroundLoop()
        self._runtime = Runtime()
        self._layouts: WeakKeyDictionary[Program, dict[bool, Layout]] = WeakKeyDictionary()

    def run(self, program: Program, inputs: Mapping[str, Any], options: RunOptions) -> Any:
        """The app's result; blocks."""
        return self._background.wait(self._execute(program, inputs, options))

    async def arun(self, program: Program, inputs: Mapping[str, Any], options: RunOptions) -> Any:
        """The app's result, awaited on the caller's own loop."""
        return await asyncio.wrap_future(
            self._background.submit(self._execute(program, inputs, options))
        )

    def stream(
        self, program: Program, inputs: Mapping[str, Any], options: RunOptions
    ) -> Iterator[Event]:
        """Events as they happen; the app's error, if any, is raised at the end."""
        events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        future = self._background.submit(self._execute(program, inputs, options, events.put))
        future.add_done_callback(lambda _: events.put(None))
        try:
            while (event := events.get()) is not None:
                yield event
            future.result()
        finally:
            future.cancel()

    def batch(
        self, calls: Sequence[tuple[Program, Mapping[str, Any]]], options: RunOptions
    ) -> list[Any]:
        """All results, in order; a failed call leaves its exception in its place."""

        async def run_all(listener: Listener | None) -> list[Any]:
            each = replace(options, trace=None)
            runs = (self._execute(program, inputs, each, listener) for program, inputs in calls)
            return await asyncio.gather(*runs, return_exceptions=True)

        with open_trace(options.trace) as writer:
            return self._background.wait(run_all(writer))

    def plan(self, program: Program, options: RunOptions) -> Plan:  # noqa: ARG002
        """What each pass does to the program's graph."""
        return make_plan(program.graph)

    def close(self) -> None:
        """Stop all engines. Apps may run again after; engines are then made anew."""
        self._background.submit(self._runtime.close()).result(CLOSE_TIMEOUT_S)

    async def _execute(
        self,
        program: Program,
        inputs: Mapping[str, Any],
        options: RunOptions,
        listener: Listener | None = None,
    ) -> Any:
        layout = self._layout(program, options.optimize)
        engines = override(program.engines, options.engines)
        about = {
            "app": program.graph.name,
            "optimized": options.optimize,
            "began": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "graph": str(layout.graph),
            "origins": origins_of(layout.graph),
        }
        with open_trace(options.trace) as writer:
            listeners = [to for to in (listener, options.listener, writer) if to is not None]
            (result,) = await self._runtime.run(
                layout,
                inputs,
                engines,
                program.symbols,
                about=about,
                listener=_tell_all(listeners),
                timeout_s=options.timeout_s,
            )
        return result

    def _layout(self, program: Program, optimized: bool) -> Layout:
        known = self._layouts.setdefault(program, {})
        if optimized not in known:
            known[optimized] = layout_of(optimize(program.graph) if optimized else program.graph)
        return known[optimized]


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


def origins_of(graph: Graph, path: str = "") -> dict[str, list[Any]]:
    """Node path -> [call, file, line]; the nodes of a map's body are at `map[].node`."""
    origins: dict[str, list[Any]] = {}
    for node in graph.nodes:
        if node.origin is not None:
            origin = node.origin
            origins[path + node.name] = [origin.call, origin.file, origin.line]
        if node.body is not None:
            origins |= origins_of(node.body, f"{path}{node.name}[].")
    return origins


def _tell_all(listeners: Sequence[Callable[[Event], None]]) -> Listener | None:
    if not listeners:
        return None

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell


@cache
def default_runner() -> AppRunner:
    """The runner of this process; its engines are closed when the process ends."""
    runner = AppRunner()
    atexit.register(runner.close)
    return runner
