"""Subscribes to the KV events of a server, which it publishes by ZMQ and msgpack.

A message is [topic, number, payload], a payload [time, events, rank]. A number that does not follow
the one before says that events were missed: what was known is forgotten.
"""

import asyncio
import logging
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from backends.optional import optional_imports
from backends.remote.client import Client
from backends.remote.routing.kv_blocks import KVBlocks

EXTRA = "kv-events"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KVSource:
    """Where a server publishes the events of one cache."""

    endpoint: str  # "tcp://host:5557"
    topic: str = ""


async def offered_sources(client: Client) -> list[KVSource]:
    """What vLLM says of its publishers. Raises EngineError where it does not."""
    answer = await client.get("/kv_event_sources")
    found = list(answer.values()) if isinstance(answer, dict) else answer
    configs = [config for config in found or () if isinstance(config, dict)]
    host = urlsplit(client.endpoint.root).hostname or "localhost"
    return [
        _reachable(KVSource(config["endpoint"], config.get("topic") or ""), host)
        for config in configs
        if isinstance(config.get("endpoint"), str) and config.get("publisher", "zmq") == "zmq"
    ]


def _reachable(source: KVSource, host: str) -> KVSource:
    """A server that listens at all of its addresses says `*`."""
    shown = f"[{host}]" if ":" in host else host
    return replace(source, endpoint=source.endpoint.replace("://*:", f"://{shown}:"))


def can_subscribe() -> bool:
    """Whether the packages are here."""
    try:
        import msgspec.msgpack
        import zmq.asyncio  # noqa: F401
    except ImportError:
        return False
    return bool(msgspec)


class KVSubscription:
    """Keeps `blocks` as the server's cache is. Raises EngineUnavailable without the packages."""

    def __init__(self, source: KVSource) -> None:
        with optional_imports(EXTRA):
            import msgspec.msgpack
            import zmq.asyncio
        self.blocks = KVBlocks()
        self.source = source
        self._decode = msgspec.msgpack.decode
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt_string(zmq.SUBSCRIBE, source.topic)
        self._socket.connect(source.endpoint)
        self._last: int | None = None
        self._task = asyncio.get_running_loop().create_task(self._listen())

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._socket.close()
        self._context.term()

    async def _listen(self) -> None:
        while True:
            self._take(await self._socket.recv_multipart())

    def _take(self, frames: list[bytes]) -> None:
        try:
            _, number, payload = frames
            self._check_number(int.from_bytes(number, "big"))
            _, events, *_ = self._decode(payload)
            for event in events:
                self.blocks.apply(event)
        except (ValueError, TypeError, KeyError) as error:  # msgspec's are ValueErrors
            _log.warning("a KV event of %s cannot be read: %r", self.source.endpoint, error)
            self.blocks.reset(is_complete=False)

    def _check_number(self, number: int) -> None:
        if self._last is None or number != self._last + 1:
            self.blocks.reset(is_complete=number == 0)
        self._last = number
