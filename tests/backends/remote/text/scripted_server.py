"""A server on this machine that answers as its script says, and an engine that talks with it."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from backends.base import Outcome, Part, Request, Turn
from backends.remote.chat_llm import ChatLLM
from backends.remote.client import Client
from backends.remote.llm_options import RemoteLLMOptions
from backends.remote.url import parse_url

USER = (Turn("user"), "Who wrote SQLite?", Turn("assistant"))


@dataclass(frozen=True)
class Seen:
    """A request that the server got."""

    path: str
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Status:
    """An answer that is an error."""

    code: int
    body: Any


@dataclass(frozen=True)
class Events:
    """A stream: server-sent events with [DONE], or lines of JSON."""

    events: Sequence[Any]
    is_lines: bool = False
    ends: bool = True  # else the connection stays open and silent

    @property
    def pieces(self) -> list[bytes]:
        if self.is_lines:
            return [json.dumps(event).encode() + b"\n" for event in self.events]
        done = [b"data: [DONE]\n\n"] if self.ends else []
        return [f"data: {json.dumps(event)}\n\n".encode() for event in self.events] + done

    @property
    def content_type(self) -> str:
        return "application/x-ndjson" if self.is_lines else "text/event-stream"


@dataclass(frozen=True)
class Headed:
    """An answer with headers of its own."""

    body: Any
    headers: Mapping[str, str]


class Hang:
    """No answer ever."""


@dataclass
class Script:
    """What is answered at each path: one answer for all requests, or a list, one a request."""

    answers: Mapping[str, Any]
    seen: list[Seen] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # a client closed while it waited
    arrived: asyncio.Event = field(default_factory=asyncio.Event)  # a POST is here
    _num: dict[str, int] = field(default_factory=dict)

    def posts(self) -> list[Any]:
        """The bodies of all POSTs, oldest first."""
        return [one.body for one in self.seen if one.body is not None]

    def answer(self, path: str) -> Any:
        found = self.answers.get(path, Status(404, {"error": {"message": f"no {path} here"}}))
        if not isinstance(found, list):
            return found
        at = self._num.get(path, 0)
        self._num[path] = at + 1
        return found[min(at, len(found) - 1)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path = head[0].split(" ")[1]
        self.seen.append(Seen(path, json.loads(body) if body else None, headers))
        answer = self.answer(path)
        if body:
            self.arrived.set()
        if isinstance(answer, Hang):
            await self._wait_for_end(reader)
            return False
        status = answer.code if isinstance(answer, Status) else 200
        if not isinstance(answer, Events):
            has_body = isinstance(answer, Status | Headed)
            text = json.dumps(answer.body if has_body else answer).encode()
            more = answer.headers if isinstance(answer, Headed) else {}
            lines = [f"content-length: {len(text)}", *(f"{k}: {v}" for k, v in more.items())]
            writer.write(_head(status, "application/json", *lines) + text)
            await writer.drain()
            return True
        writer.write(_head(200, answer.content_type, "transfer-encoding: chunked"))
        for piece in answer.pieces:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
        if not answer.ends:
            await self._wait_for_end(reader)
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _wait_for_end(self, reader: asyncio.StreamReader) -> None:
        await reader.read()
        self.gone.set()


def _head(status: int, content_type: str, *lines: str) -> bytes:
    written = [f"HTTP/1.1 {status} X", f"content-type: {content_type}", *lines, "", ""]
    return "\r\n".join(written).encode()


@asynccontextmanager
async def served(script: Script) -> AsyncIterator[str]:
    """host:port of a server that follows the script."""
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"{host}:{port}"
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def engine_at(
    script: Script, scheme: str = "openai", model: str = "m", **options: Any
) -> AsyncIterator[ChatLLM]:
    """A started engine at a server that follows the script."""
    async with served(script) as address:
        url = parse_url(f"{scheme}://{address}/{model}".rstrip("/"))
        settings = RemoteLLMOptions.model_validate({"retries": 0, **options})
        engine = ChatLLM(url, settings, Client(url.endpoints[0], settings))
        try:
            await engine.start()
            yield engine
        finally:
            await engine.close()


@dataclass(frozen=True)
class Talk:
    """One request, its outcome and what the server saw."""

    outcome: Outcome
    script: Script
    pieces: list[str]

    @property
    def result(self) -> Any:
        assert not isinstance(self.outcome, Exception), self.outcome
        return self.outcome

    @property
    def error(self) -> Exception:
        assert isinstance(self.outcome, Exception), self.outcome
        return self.outcome

    @property
    def body(self) -> Any:
        return self.script.posts()[-1]


def talk(
    answers: Mapping[str, Any],
    parts: Sequence[Part] = USER,
    *,
    scheme: str = "openai",
    streams: bool = False,
    options: Mapping[str, Any] | None = None,
    priority: int = 0,
    **attrs: Any,
) -> Talk:
    """Sends one generate to a server that answers as told."""

    async def main() -> Talk:
        script = Script(answers)
        pieces: list[str] = []
        settings = {"scheme": scheme, **(options or {})}
        async with engine_at(script, **settings) as engine:
            emit = pieces.append if streams else None
            request = Request(
                uuid4().hex, "generate", tuple(parts), attrs, priority=priority, emit=emit
            )
            (outcome,) = await engine.execute([request])
        return Talk(outcome, script, pieces)

    return asyncio.run(asyncio.wait_for(main(), 60))
