"""The events of a run as an iterator, for callers on a thread or on a loop of their own."""

import asyncio
import queue
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from runtime.clock import now
from runtime.events import Event, Listener
from teola.background import Background

Run = Callable[[Listener], Coroutine[Any, Any, Any]]  # tells its events, and gives the result
Told = Callable[[Listener], Coroutine[Any, Any, None]]  # tells the result too, in the last event


def told_query(run: Run) -> Told:
    """One query: its own event `done` gets the result."""

    async def told(listen: Listener) -> None:
        ended: list[Event] = []
        own: list[str] = []  # the query; those of apps inside it come later

        def hold_end(event: Event) -> None:
            if not own:
                own.append(event.query)
            is_own = event.query == own[0]
            is_end = is_own and event.kind == "done" and event.fields["status"] == "ok"
            (ended.append if is_end else listen)(event)

        result = await run(hold_end)
        for event in ended:
            listen(replace(event, fields={**event.fields, "result": result}))

    return told


def told_session(name: str, run: Run) -> Told:
    """The queries of an `async def` app, and a last event `done` for the whole app."""

    async def told(listen: Listener) -> None:
        def end(**fields: Any) -> None:
            listen(Event(now(), "done", name, fields=fields))

        try:
            result = await run(listen)
        except BaseException as error:
            end(status=type(error).__name__, error=str(error))
            raise
        end(status="ok", result=result)

    return told


def events_of(told: Told, background: Background) -> Iterator[Event]:
    """Starts the run with the first event asked for; leaving early cancels it."""
    background.check_may_wait()
    events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    future = background.submit(told(events.put))
    future.add_done_callback(lambda _: events.put(None))
    try:
        while (event := events.get()) is not None:
            yield event
        future.result()
    finally:
        future.cancel()


async def aevents_of(
    told: Told, submit: Callable[[Coroutine[Any, Any, None]], "asyncio.Future[None]"]
) -> AsyncGenerator[Event, None]:
    """The same on the running loop, which goes on with other tasks meanwhile."""
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[Event | None] = asyncio.Queue()

    def put(event: Event) -> None:  # on any thread
        with suppress(RuntimeError):  # this loop is closed: nobody looks any more
            loop.call_soon_threadsafe(events.put_nowait, event)

    future = submit(told(put))
    future.add_done_callback(lambda _: events.put_nowait(None))
    try:
        while (event := await events.get()) is not None:
            yield event
        await future
    finally:
        future.cancel()
