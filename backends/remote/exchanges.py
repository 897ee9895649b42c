"""Requests and the heads of their answers, over the connections of one endpoint.

httpx tells no HTTP/2 server that an answer was given up: the server goes on, and what it sends is
never acknowledged, until the connection stalls. So a request whose answer costs something goes over
HTTP/1.1, where closing the connection ends it, and HTTP/2 connections of which an answer was given
up take no more requests.
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


@dataclass(slots=True, eq=False)
class _Pool:
    http: httpx.AsyncClient
    is_http2: bool
    num_running: int = 0


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
        self._pools: dict[bool, _Pool] = {}  # by whether it is HTTP/2
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
        pools = {*self._pools.values(), *self._retired}
        self._pools.clear()
        self._retired.clear()
        for pool in pools:
            await pool.http.aclose()

    def _pool(self, is_cheap: bool) -> _Pool:
        if self._is_closed:
            raise EngineUnavailable(f"{self._endpoint.root}: the client was closed")
        is_http2 = self._speaks_http2 and (is_cheap or self._options.http2 is True)
        if is_http2 not in self._pools:
            http = make_http(self._endpoint, self._options, self._key, is_http2, self._transport)
            self._pools[is_http2] = _Pool(http, is_http2)
        return self._pools[is_http2]

    async def _settle(self, pool: _Pool, is_whole: bool) -> None:
        if pool.is_http2 and not is_whole and self._pools.get(True) is pool:
            self._retired.add(self._pools.pop(True))
        if pool in self._retired and not pool.num_running:
            self._retired.discard(pool)
            await pool.http.aclose()
