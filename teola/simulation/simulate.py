"""Runs the queries of a load on a virtual clock, each when it arrives."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frontend_dsl.app import App
from runtime.clock import now
from runtime.events import Event, Listener
from teola.errors import ArgumentError, ConfigError, GraphError
from teola.runner import default_runner
from teola.simulation.arrivals import Arrival
from teola.simulation.served import Figures, Served, figures_of
from teola.simulation.uses import uses_in
from teola.trace_file import TraceWriter
from teola.virtual import on_virtual_clock


@dataclass(frozen=True, slots=True)
class Simulation:
    """An app, what it is asked, and the engines that it has then."""

    app: App[..., Any]
    inputs: Sequence[Mapping[str, Any]]  # arguments; queries take them in turn
    engines: Mapping[str, str]  # name -> URL
    log: Path | None = None  # the trace file of all queries

    def run(
        self,
        arrivals: Iterable[Arrival],
        policy: str | None = None,
        on_end: Callable[[int], None] = lambda _: None,
    ) -> Figures:
        """All queries under a policy, None being the app's own; `on_end` is told how many have
        ended. Blocks. Raises ConfigError; what fails a query counts among the figures."""
        changes: dict[str, Any] = {} if policy is None else {"policy": policy}
        app = self.app.using(engines=self.engines, memo=False, trace=None, **changes)

        async def all_of_them(log: Listener | None) -> Figures:
            served = await self._serve(app, arrivals, log, on_end)
            return figures_of(served, uses_in(default_runner(), self.engines))

        with TraceWriter(str(self.log)) if self.log is not None else nullcontext() as writer:
            return on_virtual_clock(lambda: all_of_them(writer))

    async def _serve(
        self,
        app: App[..., Any],
        arrivals: Iterable[Arrival],
        log: Listener | None,
        on_end: Callable[[int], None],
    ) -> list[Served]:
        served: list[Served] = []
        num_ended = 0

        async def one(arguments: Mapping[str, Any], query: Served) -> None:
            nonlocal num_ended
            await _run(app, arguments, query, log)
            num_ended += 1
            on_end(num_ended)

        try:
            async with asyncio.TaskGroup() as running:
                for number, arrival in enumerate(arrivals):
                    await asyncio.sleep(arrival.at_s - now())
                    served.append(Served(now()))
                    arguments = self.inputs[number % len(self.inputs)]
                    running.create_task(one(arguments, served[-1]))
        except ExceptionGroup as group:  # what no query can help: the first is the reason
            raise group.exceptions[0] from None
        return served


async def _run(
    app: App[..., Any], arguments: Mapping[str, Any], served: Served, log: Listener | None
) -> None:
    def listen(event: Event) -> None:
        served.on_event(event)
        if log is not None:
            log(event)

    try:
        await app.using(listener=listen).arun(**arguments)
    except (ConfigError, ArgumentError, GraphError):
        raise
    except Exception as error:  # the outcome of this query
        served.error = error
    served.ended_s = now()
