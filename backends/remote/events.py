"""The events of one streamed answer as JSON, checked: errors are raised, and so is an early end."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import jiter

from backends.errors import EngineError
from backends.remote.errors import from_event
from backends.remote.sse import Decoder, Event

DRAIN_S = 0.1  # for the end of an answer after its [DONE]


class Events:
    """An async iterator. It ends after "[DONE]", or where the bytes end after a last event.

    `read` waits for more bytes; None: there are no more.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[bytes | None]],
        decoder: Decoder,
        where: str,
        is_last: Callable[[Any], bool],
    ) -> None:
        self._read_piece = read
        self._decoder = decoder
        self._where = where
        self._is_last = is_last
        self._events: deque[Event] = deque()
        self._held: deque[Any] = deque()  # read ahead, to be given again
        self._may_end = False
        self._has_ended = False
        self._is_done = False  # by [DONE]

    def __aiter__(self) -> "Events":
        return self

    async def __anext__(self) -> Any:
        if self._held:
            return self._held.popleft()
        while not self._events:
            if self._has_ended:
                self._check_end()
                raise StopAsyncIteration
            await self._read()
        event = self._events.popleft()
        if not event.data.strip():  # of a server that shows it is alive
            return await anext(self)
        if event.data.strip() == "[DONE]":
            self._events.clear()
            self._has_ended = self._may_end = self._is_done = True
            raise StopAsyncIteration
        return self._value_of(event)

    async def read_first(self) -> None:
        """Wait for the first event, which stays to be read; raises what it tells of."""
        try:
            self._held.append(await anext(self))
        except StopAsyncIteration:
            return

    async def drain(self) -> None:
        """Read what follows a [DONE], at best the end: the connection can then be used again."""
        if self._is_done:
            with suppress(TimeoutError, EngineError):
                async with asyncio.timeout(DRAIN_S):
                    while await self._read_piece() is not None:
                        pass

    async def _read(self) -> None:
        piece = await self._read_piece()
        if piece is None:
            self._has_ended = True
        self._events += self._decoder.end() if piece is None else self._decoder.feed(piece)

    def _value_of(self, event: Event) -> Any:
        try:
            value = jiter.from_json(event.data.encode())
        except ValueError:
            raise EngineError(
                f"{self._where}: an event of the stream is no JSON: {event.data[:100]!r}"
            ) from None
        told = value if event.type != "error" or "error" in value else {"error": value}
        if error := from_event(told, self._where):
            raise error
        self._may_end = self._may_end or self._is_last(value)
        return value

    def _check_end(self) -> None:
        if not self._may_end:
            raise EngineError(f"{self._where}: the stream ended early, before its last event")


def is_last(value: Any) -> bool:
    """The event says that an answer is complete: in OpenAI's words, Ollama's or SGLang's."""
    if not isinstance(value, dict):
        return False
    choices = value.get("choices")
    if isinstance(choices, list):
        return any(isinstance(c, dict) and c.get("finish_reason") for c in choices)
    meta = value.get("meta_info")
    return (
        value.get("done") is True
        or value.get("type") in ("response.completed", "response.incomplete", "response.failed")
        or (isinstance(meta, dict) and bool(meta.get("finish_reason")))
    )
