"""An engine whose requests are answered by short HTTP calls, several by one where that is safe."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from backends.base import EngineInfo, Outcome, Request, Result
from backends.errors import (
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    RequestRejected,
    RequestTooLong,
)
from backends.rate_limits import RateReport
from backends.remote.server_client import ServerClient
from backends.remote.trace_context import traceparent

JobT = TypeVar("JobT")
FAILURES_IN_A_ROW = 3  # of requests sent alone, after which the server is to blame


class Calls(Protocol[JobT]):
    """What the requests of a kind are, and how a server answers them."""

    max_items: int  # in one call

    async def open(self, client: ServerClient) -> None:
        """Find out what the server has. Raises EngineUnavailable with what to do."""

    def read(self, request: Request) -> JobT:
        """Raises RequestRejected."""

    def size_of(self, job: JobT, /) -> int:
        """Its items; a job of `max_items` or more shares its calls with no other."""

    async def run(self, client: ServerClient, jobs: Sequence[JobT]) -> list[Result]:
        """The results of jobs that share a call, in order. Raises EngineError for all of them."""


@dataclass(slots=True, eq=False)
class _Pending(Generic[JobT]):
    request_id: str
    job: JobT
    traceparent: str
    outcome: Outcome | None = None


class CallEngine(Generic[JobT]):
    """Runs `calls` at one server. A call that fails for its content is made again for each request
    alone, so that none fails for another's."""

    def __init__(
        self, info: EngineInfo, connect: Callable[[], ServerClient], calls: Calls[JobT]
    ) -> None:
        self._info = info
        self._connect = connect
        self._calls = calls
        self._client: ServerClient | None = None
        self._starting = asyncio.Lock()
        self._running: dict[asyncio.Task[None], Sequence[_Pending[JobT]]] = {}
        self._tell: Callable[[RateReport], None] | None = None

    @property
    def info(self) -> EngineInfo:
        return self._info

    def watch_rates(self, tell: Callable[[RateReport], None]) -> None:
        """See `backends.rate_limits.ReportsRates`."""
        self._tell = tell
        if self._client is not None:
            self._client.on_rates = tell

    async def start(self) -> None:
        async with self._starting:
            if self._client is not None:
                return
            client = self._connect()
            client.on_rates = self._tell
            try:
                await self._calls.open(client)
                self._client = client
            finally:
                if self._client is None:
                    await client.close()

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        """Outcomes in the order of `requests`. Cancelling the caller ends their calls."""
        client = self._started_client()
        read = [self._read(request) for request in requests]
        pending = [item for item in read if isinstance(item, _Pending)]
        tasks = [self._begin(client, group) for group in self._grouped(pending)]
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for task in tasks:
                self._running.pop(task, None)
        return [_outcome_of(item) if isinstance(item, _Pending) else item for item in read]

    def abort(self, request_id: str) -> None:
        for task, group in self._running.items():
            for item in group:
                if item.request_id == request_id and item.outcome is None:
                    item.outcome = EngineError(f"request {request_id} was aborted")
                    if all(other.outcome is not None for other in group):
                        task.cancel()

    async def close(self) -> None:
        running, self._running = self._running, {}
        for task, group in running.items():
            for item in group:
                item.outcome = item.outcome or self._is_closed()
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _read(self, request: Request) -> _Pending[JobT] | EngineError:
        try:
            return _Pending(request.id, self._calls.read(request), request.traceparent)
        except EngineError as error:
            return error

    def _grouped(self, pending: Sequence[_Pending[JobT]]) -> Iterator[Sequence[_Pending[JobT]]]:
        group: list[_Pending[JobT]] = []
        size = 0
        for item in pending:
            items = self._calls.size_of(item.job)
            if group and size + items > self._calls.max_items:
                yield group
                group, size = [], 0
            group.append(item)
            size += items
        if group:
            yield group

    def _begin(self, client: ServerClient, group: Sequence[_Pending[JobT]]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._answer(client, group))
        self._running[task] = group
        return task

    async def _answer(self, client: ServerClient, group: Sequence[_Pending[JobT]]) -> None:
        traceparent.set(group[0].traceparent)  # of several it can be the child of one only
        try:
            outcomes: Sequence[Outcome] = await self._calls.run(
                client, [item.job for item in group]
            )
        except EngineError as error:
            if len(group) > 1 and isinstance(error, RequestRejected | RequestTooLong):
                await asyncio.gather(*(self._answer(client, [item]) for item in group))
                return
            if len(group) > 1 and not isinstance(error, EngineUnavailable | EngineOverloaded):
                await self._answer_one_by_one(client, group, error)
                return
            outcomes = [error] * len(group)
        except Exception as error:  # an answer of a form that nobody thought of
            failure = EngineError(f"{self._info.model}: {type(error).__name__}: {error}")
            failure.__cause__ = error
            outcomes = [failure] * len(group)
        for item, outcome in zip(group, outcomes, strict=True):
            item.outcome = item.outcome or outcome

    async def _answer_one_by_one(
        self, client: ServerClient, group: Sequence[_Pending[JobT]], error: EngineError
    ) -> None:
        """One request may have broken the call; if the server fails for all, few are tried."""
        num_failed = 0  # in a row
        for item in group:
            if num_failed < FAILURES_IN_A_ROW:
                await self._answer(client, [item])
            item.outcome = item.outcome or error
            num_failed = num_failed + 1 if isinstance(item.outcome, Exception) else 0

    def _started_client(self) -> ServerClient:
        if self._client is None:
            raise EngineUnavailable(
                f"the {self._info.kind} {self._info.model!r} is not started; call start() first"
            )
        return self._client

    def _is_closed(self) -> EngineError:
        return EngineUnavailable(f"the {self._info.kind} {self._info.model!r} was closed")


def _outcome_of(item: _Pending[JobT]) -> Outcome:
    assert item.outcome is not None, "every call leaves an outcome for each of its requests"
    return item.outcome
