"""Calls of qdrant's client: over HTTP, or in a thread of this process. Names are the client's."""

import asyncio
import random
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from qdrant_client import AsyncQdrantClient, QdrantClient

from backends.errors import EngineUnavailable
from backends.file_lock import is_locked
from backends.local_engine import in_thread_or_here
from backends.store.qdrant.address import Address
from backends.store.qdrant.errors import is_lost, mapped

_TRIES = 3
_PAUSE_S = 0.1  # before the second try, on average; then twice that


class Calls(Protocol):
    """How the client is called. Raises EngineError."""

    is_server: bool

    async def open(self) -> None: ...

    async def call(self, method: str, **arguments: Any) -> Any: ...

    async def close(self) -> None: ...


class ServerCalls:
    """A call whose connection breaks is made again: all that we send may be done twice."""

    is_server = True

    def __init__(self, address: Address, timeout_s: float, most: int) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._most = most
        self._client: Any = None

    async def open(self) -> None:
        with warnings.catch_warnings():  # of a key over plain HTTP: `read_address` knows where
            warnings.simplefilter("ignore")
            self._client = AsyncQdrantClient(
                url=self._address.root,
                api_key=self._address.api_key,
                timeout=max(1, round(self._timeout_s)),
                pool_size=self._most,
                check_compatibility=False,
            )
        try:
            await self.call("get_collections")
        except BaseException:
            await self.close()
            raise

    async def call(self, method: str, **arguments: Any) -> Any:
        with mapped(self._address.name):
            for attempt in range(1, _TRIES):
                try:
                    return await getattr(self._client, method)(**arguments)
                except Exception as error:
                    if not is_lost(error):
                        raise
                await asyncio.sleep(_PAUSE_S * attempt * random.uniform(0.5, 1.5))
            return await getattr(self._client, method)(**arguments)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


class LocalCalls:
    """qdrant inside this process: exact, without indexes, one process a folder."""

    is_server = False

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client: Any = None
        self._thread: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="qdrant")
        with mapped(self._address.name):
            loop = asyncio.get_running_loop()
            self._client = await loop.run_in_executor(self._thread, self._make)

    async def call(self, method: str, **arguments: Any) -> Any:
        work = getattr(self._client, method)
        with mapped(self._address.name):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, lambda: work(**arguments))

    async def close(self) -> None:
        client, self._client = self._client, None
        thread, self._thread = self._thread, None
        if client is not None:
            await in_thread_or_here(thread, client.close)
        if thread is not None:
            thread.shutdown(wait=False)

    def _make(self) -> QdrantClient:
        folder = self._address.folder
        if folder is None:
            return QdrantClient(location=":memory:")
        if is_locked(folder / ".lock"):  # qdrant says so too, and leaves its file open
            raise EngineUnavailable(
                f"{self._address.name}: another store has opened this folder; "
                "a folder is for one process, a server for many"
            )
        return QdrantClient(path=str(folder), force_disable_check_same_thread=True)
