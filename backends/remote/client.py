"""HTTP with one server: keys, timeouts, retries; every failure is a typed error that names the URL.

    client = Client(endpoint, options)
    answer = await client.post("/v1/embeddings", body, is_safe=True)
    async with client.stream("/v1/chat/completions", body) as events:
        async for event in events: ...

Redirects are not followed and no proxy is taken from the environment, so that a key goes to its
server only.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, TypeVar, cast

import httpx

from backends.errors import EngineError, EngineOverloaded, EngineUnavailable, RequestRejected
from backends.rate_limits import RateReport
from backends.remote.answers import check_status, decoder_of, read_json, read_text
from backends.remote.errors import mapped_errors
from backends.remote.events import Events, is_last
from backends.remote.exchanges import Exchanges
from backends.remote.limits import read_rates
from backends.remote.options import RemoteOptions, Secret, key_env_of, read_key
from backends.remote.retry import Retry
from backends.remote.trace_context import trace_headers
from backends.remote.url import Endpoint

T = TypeVar("T")
# What is given up there must end there, though some of these may be sent again.
_GENERATIONS = frozenset(
    (
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/encode",
        "/v1/responses",
        "/generate",
        "/api/chat",
        "/api/generate",
    )
)
GET_TIMEOUT_S = 60.0  # what a server says of itself it says soon, or not at all


class Client:
    """Talks with one endpoint. Its connections are made by need and belong to the running loop.

    Raises EngineUnavailable, EngineOverloaded, RequestTooLong, RequestRejected or EngineError (see
    `backends.remote.errors`), and ConfigError where the key is wrong.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        options: RemoteOptions,
        *,
        retry: Retry | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.limits: RateReport | None = None  # what the last answer that spoke of them said
        # Called with each such answer. Whoever listens also waits where the server says until when,
        # for all requests: these are not sent again here.
        self.on_rates: Callable[[RateReport], None] | None = None
        self._options = options
        self._retry = retry or Retry(options.retries)
        self._transport = transport
        self._key = Secret("")
        self._exchanges: Exchanges | None = None
        self._is_closed = False

    async def get(self, path: str, *, timeout_s: float | None = None) -> Any:
        """The JSON at `path`; sent again after a reset."""
        limit_s = timeout_s or GET_TIMEOUT_S
        return await self._whole("GET", path, None, read_json, is_safe=True, timeout_s=limit_s)

    async def get_text(self, path: str, *, timeout_s: float | None = None) -> str:
        """The text at `path`; sent again after a reset."""
        limit_s = timeout_s or GET_TIMEOUT_S
        return await self._whole("GET", path, None, read_text, is_safe=True, timeout_s=limit_s)

    async def post(
        self, path: str, body: Mapping[str, Any], *, is_safe: bool, timeout_s: float | None = None
    ) -> Any:
        """The JSON that answers `body`; None for an empty answer. `is_safe`: it may be sent again
        though the server may have seen it."""
        return await self._whole(
            "POST", path, body, read_json, is_safe=is_safe, timeout_s=timeout_s
        )

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        is_safe: bool = False,
        is_last: Callable[[Any], bool] = is_last,
        timeout_s: float | None = None,
    ) -> AsyncIterator[AsyncIterator[Any]]:
        """The events of an answer as JSON, once the first one is there: only until then is the
        request sent again. Bytes that end before an event that `is_last`, or [DONE], are an error.
        """
        where = f"POST {self.endpoint.url_of(path)}"
        content = _encoded(body, where)
        deadline = self._deadline(timeout_s)
        async with AsyncExitStack() as stack:

            async def open_events() -> Events:
                async with AsyncExitStack() as attempt:
                    sent = self._send("POST", path, content, is_safe=False, is_stream=True)
                    response = await attempt.enter_async_context(sent)
                    decoder = await decoder_of(response, where)
                    pieces = cast(AsyncGenerator[bytes, None], response.aiter_bytes())
                    attempt.push_async_callback(pieces.aclose)

                    async def read() -> bytes | None:
                        with self._typed(where):
                            async with _until(deadline, where):
                                return await anext(pieces, None)

                    events = Events(read, decoder, where, is_last)
                    await events.read_first()
                    stack.push_async_exit(attempt.pop_all())
                return events

            events = await self._retried(where, deadline, open_events, is_safe)
            with self._key_hidden():
                yield events
            await events.drain()

    async def close(self) -> None:
        """Close all connections; the client is of no more use."""
        self._is_closed = True
        exchanges, self._exchanges = self._exchanges, None
        if exchanges is not None:
            await exchanges.close()

    async def _whole(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        read: Callable[[httpx.Response, str], T],
        *,
        is_safe: bool,
        timeout_s: float | None,
    ) -> T:
        where = f"{method} {self.endpoint.url_of(path)}"
        content = None if body is None else _encoded(body, where)

        async def exchange() -> T:
            async with self._send(method, path, content, is_safe=is_safe) as response:
                await response.aread()
                return read(response, where)

        return await self._retried(where, self._deadline(timeout_s), exchange, is_safe)

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        path: str,
        content: bytes | None,
        *,
        is_safe: bool,
        is_stream: bool = False,
    ) -> AsyncIterator[httpx.Response]:
        """The head of an answer without an error."""
        headers = {**trace_headers()}
        if content is not None:
            headers["content-type"] = "application/json"
        if is_stream:
            headers["accept-encoding"] = "identity"  # compression would hold events back
        exchanges = self._connected()
        is_cheap = is_safe and path not in _GENERATIONS
        async with exchanges.exchange(
            method, path, content, headers, is_cheap=is_cheap
        ) as response:
            self._take_rates(response)
            where = f"{method} {self.endpoint.url_of(path)}"
            await check_status(response, where, self._key_hint)
            yield response

    @property
    def _key_hint(self) -> str:
        name = key_env_of(self.endpoint, self._options)
        if self._key:
            return f"is the key in the environment's {name} right?"
        return f"the environment has no {name}, where the key is looked for (option api_key_env)"

    def _take_rates(self, response: httpx.Response) -> None:
        report = read_rates(response.headers)
        if report is not None:
            self.limits = report
            if self.on_rates is not None:
                self.on_rates(report)

    async def _retried(
        self, where: str, deadline: float, attempt: Callable[[], Awaitable[T]], is_safe: bool
    ) -> T:
        loop = asyncio.get_running_loop()
        for num_before in itertools.count():
            try:
                with self._typed(where):
                    async with _until(deadline, where):
                        return await attempt()
            except EngineError as error:
                left_s = deadline - loop.time()
                pause_s = self._retry.pause_s(error, num_before, left_s, is_safe=is_safe)
                if pause_s is None or self._is_waited_for(error):
                    raise
            await asyncio.sleep(pause_s)
        raise AssertionError("the attempts have no end of their own")

    def _is_waited_for(self, error: EngineError) -> bool:
        says_when = isinstance(error, EngineOverloaded) and error.retry_after_s is not None
        return says_when and self.on_rates is not None

    def _connected(self) -> Exchanges:
        if self._is_closed:
            raise EngineUnavailable(f"{self.endpoint.root}: the client was closed")
        if self._exchanges is None or self._exchanges.loop is not asyncio.get_running_loop():
            self._key = read_key(self.endpoint, self._options)
            self._exchanges = Exchanges(self.endpoint, self._options, self._key, self._transport)
        return self._exchanges

    def _deadline(self, timeout_s: float | None) -> float:
        limit_s = self._options.timeout_s
        return asyncio.get_running_loop().time() + min(limit_s, timeout_s or limit_s)

    @contextmanager
    def _typed(self, where: str) -> Iterator[None]:
        with self._key_hidden(), mapped_errors(where):
            yield

    @contextmanager
    def _key_hidden(self) -> Iterator[None]:
        try:
            yield
        except EngineError as error:
            error.args = tuple(self._key.hide_in(str(arg)) for arg in error.args)
            raise


@asynccontextmanager
async def _until(deadline: float, where: str) -> AsyncIterator[None]:
    limit = asyncio.timeout_at(deadline)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise EngineUnavailable(f"{where}: no whole answer in time (timeout_s)") from None


def _encoded(body: Mapping[str, Any], where: str) -> bytes:
    try:
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode()
    except (TypeError, ValueError) as error:
        raise RequestRejected(f"{where}: the request cannot be written as JSON: {error}") from None
