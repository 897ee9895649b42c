"""Receiving and reading bodies, with bounds on memory and on the event loop's time.

Before a byte is received its body has room in a budget of bytes for all clients. While it arrives
its size, its items and its time are bounded. Then JSON and fields are read on one thread: pydantic
holds Python's lock, so more threads would not read faster and would keep the loop waiting.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar, cast

from starlette.requests import Request

from teola.serving.api_errors import ApiError
from teola.serving.body_items import ItemCounter
from teola.serving.give_back import give_back
from teola.serving.limits import Limits

T = TypeVar("T")
_BODIES_AT_ONCE = 3  # of the greatest size
_BUDGET_WAIT_S = 20.0
_FREE_BYTES = 65_536  # smaller bodies need no budget: connections are bounded
_HEAVY_BYTES = 1 << 20  # once such a body is answered, the memory that it took is given back
_GIVE_BACK_S = 0.5
_LIGHT_BYTES = 16_384  # read in a few milliseconds, on the loop


class Bodies:
    """Of one server."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._budget = Budget(_BODIES_AT_ONCE * limits.max_body_bytes)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read body")
        self._gives_back = False

    async def read(self, request: Request, parse: Callable[[bytes], T]) -> T:
        """What `parse` makes of the whole body, on a thread if it is long. Raises ApiError, and
        ClientDisconnect where the client goes away before its end."""
        if (encoding := request.headers.get("content-encoding", "identity")) != "identity":
            message = f"the body is encoded with {encoding[:100]!r}; send plain JSON"
            raise ApiError(415, message, code="unsupported_encoding")
        expected = _expected_bytes(request)
        if expected is not None and expected > self._limits.max_body_bytes:
            raise self._too_large()
        most = self._limits.max_body_bytes if expected is None else expected
        async with self._budget.taken(most if most > _FREE_BYTES else 0):
            body = await self._received(request)
            if len(body) <= _LIGHT_BYTES:
                return parse(body)
            if len(body) > _HEAVY_BYTES:
                self._give_back_soon()
            return await self.apart(partial(parse, body))

    def _give_back_soon(self) -> None:
        if not self._gives_back:
            self._gives_back = True
            asyncio.get_running_loop().call_later(_GIVE_BACK_S, self._give_back)

    def _give_back(self) -> None:
        self._gives_back = False
        self._thread.submit(give_back)

    async def apart(self, work: Callable[[], T]) -> T:
        """What `work` gives, on the thread on which bodies are read."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _received(self, request: Request) -> bytes:
        limit_s = self._limits.body_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._joined(request)
        except TimeoutError:
            message = f"the body did not arrive in {limit_s:g} s"
            raise ApiError(408, message, code="request_timeout") from None

    async def _joined(self, request: Request) -> bytes:
        pieces, size, counter = [], 0, ItemCounter()
        async for piece in request.stream():
            size += len(piece)
            if size > self._limits.max_body_bytes:
                raise self._too_large()
            pieces.append(piece)
            counter.feed(piece)
            if counter.num_items > self._limits.max_body_items:
                raise self._too_many()
        return b"".join(pieces)

    def _too_large(self) -> ApiError:
        mib = self._limits.max_body_bytes / 2**20
        message = f"the body is longer than {mib:g} MiB (this server's --max-body-mb)"
        return ApiError(413, message, code="request_too_large")

    def _too_many(self) -> ApiError:
        most = self._limits.max_body_items
        message = f"lists and objects of the body hold over {most} items (--max-body-items)"
        return ApiError(413, message, code="request_too_large")


class Budget:
    """Bytes that bodies may take together; who comes first is served first."""

    def __init__(self, num_bytes: int, wait_s: float = _BUDGET_WAIT_S) -> None:
        self._free = num_bytes
        self._wait_s = wait_s
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def taken(self, num_bytes: int) -> AsyncIterator[None]:
        """Raises ApiError, 429, when there is no room in time."""
        await self._take(num_bytes)
        try:
            yield
        finally:
            self._free += num_bytes
            self._serve()

    async def _take(self, num_bytes: int) -> None:
        if num_bytes and (self._waiting or num_bytes > self._free):
            await self._wait(num_bytes)
        else:
            self._free -= num_bytes

    async def _wait(self, num_bytes: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (num_bytes, turn)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._free += num_bytes
            else:
                self._waiting.remove(entry)
            self._serve()
            if isinstance(error, TimeoutError):
                message = "too many long bodies are arriving; try again soon"
                raise ApiError(429, message, code="overloaded") from None
            raise

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            num_bytes, turn = self._waiting[0]
            if not turn.done():
                self._waiting.popleft()
                self._free -= num_bytes
                turn.set_result(None)
            else:
                break  # cancelled: its waiter leaves by itself


def _expected_bytes(request: Request) -> int | None:
    """None: the client does not say."""
    given = request.headers.get("content-length", "")
    return int(given) if given.isdecimal() else None


def bodies_of(request: Request) -> Bodies:
    return cast(Bodies, request.app.state.bodies)
