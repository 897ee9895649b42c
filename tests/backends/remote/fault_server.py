"""A TCP server that answers HTTP as well or as badly as a test says.

    async with FaultServer(overloaded(retry_after="1"), as_json({"ok": True})) as server:
        client = server.client()          # of the endpoint, with quick timeouts
        await client.post("/v1/x", {}, is_safe=True)
    server.seen[0].body                   # what was asked, as JSON

Answers are used one after another, and the last for all that come after it; a function from what
was asked to an answer may stand in place of one. `stop` and `start` are a server that dies and
comes back at its port.
"""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self

import psutil

from backends.remote.client import Client
from backends.remote.options import RemoteOptions
from backends.remote.retry import Retry
from backends.remote.url import parse_url

RESET = "reset"  # the connection breaks, as when a process is killed
CLOSE = "close"  # the connection ends in good order
HANG = "hang"  # nothing comes any more

Step = bytes | float | str  # bytes to send, seconds to wait, or one of the words above


@dataclass(frozen=True)
class Answer:
    """What is done with a request, in order. Without a word at its end the connection is kept."""

    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Seen:
    """A request that came."""

    method: str
    path: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)


Reply = Answer | Callable[[Seen], Answer]


class FaultServer:
    """On a free port of this machine; all its connections are cut at the end."""

    def __init__(self, *replies: Reply, tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        self.num_connections = 0  # that ever came
        self.port = 0
        self._replies = list(replies)
        self._tls = tls
        self._listening: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # one a connection

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self._listening.setblocking(False)
        self.port = self._listening.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listening, self._accept, self._listening)

    async def stop(self) -> None:
        """Like a process that is killed: whoever is connected sees a reset."""
        listening, self._listening = self._listening, None
        if listening is not None:
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()
        await asyncio.sleep(0)  # a task that never began would not close its connection
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def num_open(self) -> int:
        """Connections now."""
        return len(self._tasks)

    def _accept(self, listening: socket.socket) -> None:
        with suppress(BlockingIOError, ConnectionError):
            raw, _ = listening.accept()
            raw.setblocking(False)
            self.num_connections += 1
            task = asyncio.get_running_loop().create_task(self._serve(raw))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, scheme: str = "openai", model: str = "m") -> str:
        return f"{scheme}://{self.address}/{model}"

    def client(self, **options: Any) -> Client:
        """Of this server; its retries wait no time unless the server says so."""
        settings = RemoteOptions(**options)
        (endpoint,) = parse_url(self.url()).endpoints
        return Client(endpoint, settings, retry=Retry(settings.retries, draw=lambda: 0.0))

    async def _serve(self, raw: socket.socket) -> None:
        with raw, suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await _opened(raw, self._tls)
            try:
                while (seen := await _read_request(reader)) is not None:
                    self.seen.append(seen)
                    if not await _play(self._next_answer(seen), reader, writer):
                        break
            except asyncio.CancelledError:
                _reset(writer)
                raise
            finally:
                writer.close()

    def _next_answer(self, seen: Seen) -> Answer:
        reply = self._replies[0] if len(self._replies) == 1 else self._replies.pop(0)
        return reply if isinstance(reply, Answer) else reply(seen)


async def _opened(
    raw: socket.socket, tls: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, raw, ssl=tls)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def _read_request(reader: asyncio.StreamReader) -> Seen | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    content = await reader.readexactly(int(headers.get("content-length", 0)))
    return Seen(method, path, headers, content)


async def _play(answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether the connection is kept."""
    for step in answer.steps:
        if isinstance(step, bytes):
            writer.write(step)
            await writer.drain()
        elif isinstance(step, float):
            await asyncio.sleep(step)
        elif step == HANG:
            await reader.read()  # until the client goes
            return False
        else:
            if step == RESET:
                _reset(writer)
            return False
    return True


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    with suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def as_bytes(
    content: bytes, status: int = 200, content_type: str = "application/json", **headers: str
) -> Answer:
    """A whole answer; `retry_after="1"` is the header retry-after."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named |= {"content-type": content_type, "content-length": str(len(content))}
    return Answer((head(status, named) + content,))


def as_json(body: Any, status: int = 200, **headers: str) -> Answer:
    return as_bytes(json.dumps(body).encode(), status, **headers)


def failing(status: int, message: str = "it failed", **headers: str) -> Answer:
    """An error in OpenAI's shape."""
    return as_json({"error": {"message": message, "type": "t", "code": None}}, status, **headers)


def overloaded(retry_after: str, status: int = 429) -> Answer:
    return failing(status, "too many requests", retry_after=retry_after)


def events(*bodies: Any, end: Iterable[Step] = (b"data: [DONE]\n\n", CLOSE)) -> Answer:
    """Server-sent events, one piece each; numbers among them are seconds to wait, and `end` is
    what comes after: `end=(RESET,)` breaks the stream."""
    sent = (
        b if isinstance(b, float) else b"data: " + json.dumps(b).encode() + b"\n\n" for b in bodies
    )
    return Answer((head(200, {"content-type": "text/event-stream"}), *sent, *end))


def json_lines(*bodies: Any, end: Iterable[Step] = (CLOSE,)) -> Answer:
    """Ollama's stream: a JSON object a line."""
    sent = (b if isinstance(b, float) else json.dumps(b).encode() + b"\n" for b in bodies)
    return Answer((head(200, {"content-type": "application/x-ndjson"}), *sent, *end))


def truncated(body: Any) -> Answer:
    """Half of the content that the head promises."""
    content = json.dumps(body).encode()
    lines = {"content-type": "application/json", "content-length": str(len(content))}
    return Answer((head(200, lines), content[: len(content) // 2], CLOSE))


def dripping(body: Any, pause_s: float) -> Answer:
    """A byte now and then: slow loris."""
    content = json.dumps(body).encode()
    lines = {"content-type": "application/json", "content-length": str(len(content))}
    drops = (step for byte in content for step in (bytes((byte,)), pause_s))
    return Answer((head(200, lines), *drops))


broken = Answer((RESET,))  # no answer, and the connection breaks
hung = Answer((HANG,))  # no answer at all


def put_forward(seconds: float) -> None:
    """The clock of the running loop, by which timeouts go: nobody waits for them."""
    loop = asyncio.get_running_loop()
    time = loop.time
    loop.time = lambda: time() + seconds  # type: ignore[method-assign]


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Fails if tasks or sockets of what runs inside are there after it, some seconds later."""
    tasks, sockets = asyncio.all_tasks(), _sockets()
    yield
    for _ in range(1000):  # the loop closes transports in its next turns
        left = [*(asyncio.all_tasks() - tasks), *(_sockets() - sockets)]
        if not left:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"left behind: {left}")


def _sockets() -> set[str]:
    """Whatever their states: those of others change meanwhile."""
    connections = psutil.Process().net_connections("inet")
    return {f"{one.fd}: {one.laddr} to {one.raddr}" for one in connections}


def refusing_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
