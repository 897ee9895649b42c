"""Requests and the heads of their answers, over the connections of one endpoint.

httpx tells no HTTP/2 server that an answer was given up: the server goes on, and what it sends is
never acknowledged, until the connection stalls. So a request whose answer costs something goes over
HTTP/1.1, where closing the connection ends it, and HTTP/2 connections of which an answer was given
up take no more requests.

For every request httpx compares all connections of a pool with each other, so HTTP/1.1 has many
small pools: with 64 requests at once that halves the CPU time of a request.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from backends.errors import EngineUnavailable
from backends.remote.connection import make_http, speaks_http2
from backends.remote.options import RemoteOptions, Secret
from backends.remote.url import Endpoint

POOL_SIZE = 8  # connections
SPARE_CONNECTIONS = 8  # for aborts and metrics while all requests run


@dataclass(slots=True, eq=False)
class _Pool:
    http: httpx.AsyncClient
    size: int  # requests that run at once; more wait
    num_running: int = 0

    @property
    def room(self) -> int:
        return self.size - self.num_running


class Exchanges:
    """Connections are made by need, and belong to the loop that runs then."""

    def __init__(
        self,
        endpoint: Endpoint,
        options: RemoteOptions,
        key: Secret,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._endpoint = endpoint
        self._options = options
        self._key = key
        self._transport = transport
        self._speaks_http2 = speaks_http2(endpoint, options)
        self._sizes = _sizes(options.concurrency + SPARE_CONNECTIONS)  # of pools not made yet
        self._pools: list[_Pool] = []  # HTTP/1.1
        self._http2: _Pool | None = None
        self._retired: set[_Pool] = set()
        self._is_closed = False

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        path: str,
        content: bytes | None,
        headers: Mapping[str, str],
        *,
        is_cheap: bool,
    ) -> AsyncIterator[httpx.Response]:
        """Sends a request; the answer's body is not read yet. `is_cheap`: an answer that is given
        up may be computed to its end."""
        pool = self._pool(is_cheap)
        pool.num_running += 1
        is_whole = False
        try:
            url = self._endpoint.url_of(path)
            request = pool.http.build_request(method, url, content=content, headers=headers)
            response = await pool.http.send(request, stream=True)
            try:
                yield response
                is_whole = response.is_closed
            finally:
                await response.aclose()
        finally:
            pool.num_running -= 1
            await self._settle(pool, is_whole)

    async def close(self) -> None:
        """Close all connections, also those in use."""
        self._is_closed = True
        pools = [*self._pools, *self._retired, *filter(None, [self._http2])]
        self._pools, self._http2, self._retired = [], None, set()
        for pool in pools:
            await pool.http.aclose()

    def _pool(self, is_cheap: bool) -> _Pool:
        if self._is_closed:
            raise EngineUnavailable(f"{self._endpoint.root}: the client was closed")
        if self._speaks_http2 and (is_cheap or self._options.http2 is True):
            self._http2 = self._http2 or self._make(self._options.concurrency, is_http2=True)
            return self._http2
        for pool in self._pools:  # the first with room: its connections are the warmest
            if pool.room > 0:
                return pool
        if self._sizes:
            self._pools.append(self._make(self._sizes.pop(), is_http2=False))
            return self._pools[-1]
        return max(self._pools, key=lambda pool: pool.room)

    def _make(self, size: int, *, is_http2: bool) -> _Pool:
        http = make_http(self._endpoint, self._options, self._key, size, is_http2, self._transport)
        return _Pool(http, size)

    async def _settle(self, pool: _Pool, is_whole: bool) -> None:
        if pool is self._http2 and not is_whole:
            self._retired.add(pool)
            self._http2 = None
        if pool in self._retired and not pool.num_running:
            self._retired.discard(pool)
            await pool.http.aclose()


def _sizes(num_connections: int) -> list[int]:
    """Of pools that hold so many together, the last first."""
    full, rest = divmod(num_connections, POOL_SIZE)
    return [*([rest] if rest else []), *[POOL_SIZE] * full]
