"""What a connection may do to the server: how many there are, how slow and how large they may be.

A client has `header_timeout_s` for the head of a request, and `write_timeout_s` to take what is
written. At `max_connections` the connection whose request is not here yet, for the longest time,
makes room for a new one: idle and slow clients never keep others out. One whose request was
refused before all of it came has a moment to read the answer.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from teola.serving.limits import Limits

_MAX_HEAD_BYTES = 65_536
_WIRE_BYTES = 8  # for each byte of a body at most, in chunks of one byte
_LINGER_S = 5.0
_REFUSALS = {
    408: (b"Request Timeout", b"the head of the request did not arrive in time"),
    413: (b"Content Too Large", b"the request is too large"),
    429: (b"Too Many Requests", b"all connections are in use; try again soon"),
    431: (b"Request Header Fields Too Large", b"the head of the request is too large"),
}


class Connections:
    """All connections of one server."""

    def __init__(self, limits: Limits, count_closed: Callable[[str], None]) -> None:
        self.limits = limits
        self.count_closed = count_closed  # with the reason
        self._unasked: dict[Connection, None] = {}  # without a whole request, oldest first

    @property
    def protocol(self) -> type[asyncio.Protocol]:
        """What uvicorn makes for each connection."""
        return cast(type[asyncio.Protocol], partial(Connection, self))

    def note_waiting(self, connection: "Connection") -> None:
        """It waits for a request, or for the rest of one."""
        self._unasked[connection] = None

    def note_asked(self, connection: "Connection") -> None:
        """Its request is here, or it is gone."""
        self._unasked.pop(connection, None)

    def make_room(self) -> bool:
        """Close the connection that has waited longest; False when all have a whole request."""
        oldest = next(iter(self._unasked), None)
        if oldest is None:
            return False
        self.note_asked(oldest)
        oldest.end("capacity")
        return True


class Connection(HttpToolsProtocol):
    """One connection."""

    def __init__(self, all_of_server: Connections, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._all = all_of_server
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._num_bytes = 0  # of this request, by whole reads
        self._is_in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        limits = self._all.limits
        if len(self.connections) > limits.max_connections and not self._all.make_room():
            self._refuse(429, "capacity")
            return
        self._all.note_waiting(self)
        self._start(limits.header_timeout_s, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.note_asked(self)
        self._stop()
        self._stop_write_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._num_bytes += len(data)
        if self._is_in_head and self._num_bytes > _MAX_HEAD_BYTES:
            self._refuse(431, "head_too_large")
        elif self._num_bytes > _MAX_HEAD_BYTES + _WIRE_BYTES * self._all.limits.max_body_bytes:
            self._refuse(413, "body_too_large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._num_bytes, self._is_in_head = 0, True
        self._start(self._all.limits.header_timeout_s, self._head_is_late)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._stop()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._num_bytes = 0
        if self._is_answering:
            self._all.note_asked(self)
        else:
            # The rest of a request that was refused: the connection is as good as new.
            self._start(self.timeout_keep_alive, partial(self.end, "idle"))

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if not self._is_answering:  # another request on the same connection
            self._all.note_waiting(self)
        if self.cycle.response_complete and self.cycle.more_body:
            self._start(_LINGER_S, partial(self.end, "unread_body"))

    def pause_writing(self) -> None:
        super().pause_writing()
        limit_s = self._all.limits.write_timeout_s
        self._stop_write_timer()
        self._write_timer = self.loop.call_later(limit_s, self._abort)

    def resume_writing(self) -> None:
        self._stop_write_timer()
        super().resume_writing()

    def end(self, reason: str) -> None:
        """Close it."""
        if not self.transport.is_closing():
            self._all.count_closed(reason)
            self.transport.close()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _head_is_late(self) -> None:
        self._timer = None
        self._refuse(408, "header_timeout")

    def _refuse(self, status: int, reason: str) -> None:
        """An answer, if none is under way, and the end."""
        if self.transport.is_closing():
            return
        if not self._is_answering:
            phrase, why = _REFUSALS[status]
            again = b"retry-after: 1\r\n" if status == 429 else b""
            head = b"HTTP/1.1 %d %b\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n"
            self.transport.write(head % (status, phrase, len(why)))
            self.transport.write(again + b"connection: close\r\n\r\n" + why)
        self.end(reason)

    def _abort(self) -> None:
        self._all.count_closed("write_timeout")
        self.transport.abort()

    def _start(self, seconds: float, act: Callable[[], None]) -> None:
        self._stop()
        self._timer = self.loop.call_later(seconds, act)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
