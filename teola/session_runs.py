"""One run of an `async def` app: the app on the caller's loop, its segments on the engines'."""

from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from itertools import count
from typing import Any

from backends.base import Context
from backends.registry import EngineSpec
from frontend_dsl.program import Program, RunOptions, Segments
from frontend_dsl.tracer import untraced
from runtime.clock import virtual_numbers
from runtime.outputs import Outputs
from runtime.run_ahead import RunAhead
from runtime.service import Runtime
from runtime.session import Session
from teola.background import Background
from teola.batches import is_in_batch
from teola.callers import with_caller
from teola.fakes import with_fakes
from teola.listeners import listening
from teola.nested import said_by_agents
from teola.plans import run_on
from teola.query_runs import QueryRuns
from teola.stored_runs import RunStores
from teola.telemetry.running import open_spans

Body = Callable[[Segments], Awaitable[Any]]

_runs = count(1)


class SessionRuns:
    """Runs `async def` apps; each segment is a query."""

    def __init__(
        self,
        runtime: Runtime,
        background: Background,
        run_stores: RunStores,
        queries: QueryRuns,
    ) -> None:
        self._runtime = runtime
        self._background = background
        self._run_stores = run_stores
        self._queries = queries

    async def run(
        self,
        name: str,
        body: Body,
        options: RunOptions,
        arguments: Mapping[str, Any],
        engines: Callable[[], Mapping[str, EngineSpec]],
    ) -> Any:
        """The app's result; the run is kept if its options say so. A new run, which
        is none of a batch, is refused while too much waits at one of the `engines` that its code
        names."""
        is_new = options.resumes is None and not is_in_batch()
        named = engines if is_new else dict
        async with self._run_stores.kept(options, arguments) as kept:
            return await self._run(name, body, kept, arguments, named)

    async def _run(
        self,
        name: str,
        body: Body,
        options: RunOptions,
        arguments: Mapping[str, Any],
        engines: Callable[[], Mapping[str, EngineSpec]],
    ) -> Any:
        run = f"run {next(virtual_numbers() or _runs)}"
        with (
            open_spans(options.otel, arguments) as spans,
            listening(with_fakes(options), spans.listener) as each,
        ):
            own = with_caller(replace(each, otel=spans))
            ahead = self._ahead(name, own)

            async def start(program: Program, inputs: Mapping[str, Any], outputs: Outputs) -> None:
                segment = _of_segment(own, program, outputs.place)
                running = self._queries.execute(program, inputs, segment, None, outputs, run, ahead)
                with untraced():
                    await self._background.run_to_end(running)

            session = Session(
                name,
                start,
                self._release,
                is_plain=not own.optimize,
                stored_as=own.stored and own.stored.run.named,
            )
            queues = self._runtime.crowded(lambda: run_on(engines(), own).values())
            with said_by_agents(), self._runtime.door.entered(queues):
                try:
                    spans.result = await session.run(body, own.timeout_s)
                finally:
                    await self._end_ahead(ahead)
            return spans.result

    def _ahead(self, name: str, options: RunOptions) -> RunAhead | None:
        """What guesses in a run of an `async def` app."""
        if options.speculate is None or not options.optimize:
            return None
        alike = (options.fakes, tuple(sorted(options.engines.items())), options.salt)
        return self._runtime.run_ahead(name, options.speculate, alike)

    async def _end_ahead(self, ahead: RunAhead | None) -> None:
        if ahead is not None:
            with untraced():
                await self._background.run_to_end(ahead.end())

    def _release(self, context: Context) -> "Future[None]":
        async def release() -> None:
            context.release()

        return self._background.submit(release())


def _of_segment(options: RunOptions, program: Program, place: str) -> RunOptions:
    """An app's options for one of its segments: it has some of the app's engines, and its time."""
    engines = {name: url for name, url in options.engines.items() if name in program.engines}
    stored = options.stored and options.stored.within(place)
    return replace(options, engines=engines, timeout_s=None, stored=stored)
