"""Server-sent events over a generation: one `data:` line each, many in one write."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from teola.serving.disconnect import ClientGone, mark_gone, while_connected
from teola.serving.generation import Generation
from teola.serving.pieces import Answer, Piece

Write = Callable[[bytes], Awaitable[None]]


class Events:
    """A running generation and what it said since somebody last looked."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self._pending: list[Piece | Answer] = []
        self._wake = asyncio.Event()
        self._task = asyncio.ensure_future(generation.run(self._put))
        self._task.add_done_callback(lambda _: self._wake.set())

    async def take(self) -> list[Piece | Answer]:
        """All that came since the last call, at least one; [] at the end. Raises what failed."""
        while not self._pending:
            if self._task.done():
                self._task.result()
                return []
            self._wake.clear()
            await self._wake.wait()
        taken, self._pending = self._pending, []
        return taken

    async def cancel(self) -> None:
        """Abort what is left; it has stopped when this returns."""
        self._task.cancel()
        with suppress(Exception, asyncio.CancelledError):
            await self._task

    def _put(self, event: Piece | Answer) -> None:
        self._pending.append(event)
        self._wake.set()


class EventStream(Response):
    """Runs `write_all`, which writes the whole body, for as long as the client listens; when it
    stops listening, `on_gone` is told."""

    media_type = "text/event-stream"

    def __init__(
        self, write_all: Callable[[Write], Awaitable[None]], on_gone: Callable[[], None]
    ) -> None:
        self._write_all = write_all
        self._on_gone = on_gone
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})

        async def write(frame: bytes) -> None:
            await send({"type": "http.response.body", "body": frame, "more_body": True})

        async def body() -> None:
            await self._write_all(write)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        try:
            await while_connected(receive, body())
        except ClientGone:
            mark_gone(scope)
            self._on_gone()
