"""Runs an app and follows its events: streams the answer, shows progress, builds the trace.

The app runs on teola's own loop. This one, on the main thread, only writes, so that a slow reader
of stdout delays no engine, and Ctrl-C cancels the query through the awaited task.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any, TextIO

from runtime.events import Event
from teola.cli.progress import Progress
from teola.cli.target import AnyApp
from teola.viewer.runs import RunBuilder
from teola.virtual import on_virtual_clock

_TICK_S = 0.1


class Screen:
    """Where the events of a run go. `out` gets the answer's text as it comes, if given."""

    def __init__(self, builder: RunBuilder, out: TextIO | None, progress: Progress | None):
        self.streamed = ""
        self.stored_as = ""  # the id of the run, if it is kept
        self._builder = builder
        self._out = out
        self._progress = progress

    def on_event(self, event: Event) -> None:
        if event.kind == "query":
            self.stored_as = event.fields.get("stored_as", self.stored_as)
        if event.kind != "text":
            self._builder(event)
            return
        if self._progress is not None:
            self._progress.count_text(event)
        if self._out is not None and event.fields["final"]:
            self._write(self._out, str(event.fields["text"]))

    def on_tick(self) -> None:
        if self._progress is not None:
            self._progress.refresh()

    def _write(self, out: TextIO, text: str) -> None:
        if self._progress is not None and out.isatty():  # one terminal cannot show both
            self._progress.stop()
        self.streamed += text
        out.write(text)
        out.flush()


def run_app(app: AnyApp, arguments: Mapping[str, Any], screen: Screen) -> Any:
    """The app's result. Ctrl-C cancels the query and raises KeyboardInterrupt."""
    return asyncio.run(_run(app, arguments, screen, _tick(screen)))


def run_app_virtually(app: AnyApp, arguments: Mapping[str, Any], screen: Screen) -> Any:
    """The same on a virtual clock, which is that of the events."""
    return on_virtual_clock(lambda: _run(app, arguments, screen))


async def _run(
    app: AnyApp,
    arguments: Mapping[str, Any],
    screen: Screen,
    tick: Coroutine[Any, Any, None] | None = None,
) -> Any:
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[Event | None] = asyncio.Queue()
    users = app.options.listener

    def listen(event: Event) -> None:
        if users is not None:
            users(event)
        with suppress(RuntimeError):  # this loop is closed: nobody looks any more
            loop.call_soon_threadsafe(events.put_nowait, event)

    result = asyncio.create_task(app.using(listener=listen).arun(**arguments))
    result.add_done_callback(lambda _: events.put_nowait(None))
    ticks = asyncio.create_task(tick) if tick is not None else None
    try:
        while (event := await events.get()) is not None:
            screen.on_event(event)
        return await result
    finally:
        if ticks is not None:
            ticks.cancel()
        result.cancel()


async def _tick(screen: Screen) -> None:
    while True:
        await asyncio.sleep(_TICK_S)
        screen.on_tick()
