"""The engine of a store in another process: each request is a task, with an outcome of its own."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from backends.base import EngineInfo, Outcome, Request, Result, Usage
from backends.documents import Doc, Index
from backends.errors import EngineError, EngineUnavailable, RequestRejected
from backends.store.jobs import Count, Delete, Ingest, Job, Search, read_request


class Documents(Protocol):
    """Where the documents are. Methods raise EngineError; a change is made whole or not at all."""

    async def open(self) -> None:
        """Connect, and make what is missing. Raises EngineUnavailable."""

    async def close(self) -> None: ...

    async def ingest(self, ingest: Ingest) -> tuple[str, ...]:
        """The keys of the rows, in order."""

    async def delete(self, delete: Delete) -> int: ...

    async def count(self) -> int: ...

    async def search(self, search: Search) -> list[Doc]: ...


class RemoteStore:
    """Runs a batch: ingests first, then deletions, then what reads, which therefore sees them."""

    def __init__(self, info: EngineInfo, collection: str, documents: Documents) -> None:
        self._info = info
        self._name = collection
        self._documents = documents
        self._is_open = False
        self._starting = asyncio.Lock()
        self._running: dict[str, asyncio.Task[Outcome]] = {}  # by request id

    @property
    def info(self) -> EngineInfo:
        return self._info

    async def start(self) -> None:
        async with self._starting:
            if self._is_open:
                return
            try:
                await self._documents.open()
                self._is_open = True
            finally:
                if not self._is_open:
                    await self._documents.close()

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        if not self._is_open:
            raise EngineUnavailable(f"the store {self._info.model!r} is not started")
        outcomes: dict[int, Outcome] = {}
        jobs: dict[int, Job] = {}
        for i, request in enumerate(requests):
            try:
                jobs[i] = read_request(request, self._name)
            except RequestRejected as error:
                outcomes[i] = error
        for kind in (Ingest, Delete):
            for i in [i for i, job in jobs.items() if isinstance(job, kind)]:
                outcomes[i] = await self._outcome(requests[i], jobs[i])
        reads = [i for i, job in jobs.items() if isinstance(job, Count | Search)]
        answers = await asyncio.gather(*(self._outcome(requests[i], jobs[i]) for i in reads))
        outcomes.update(zip(reads, answers, strict=True))
        return [outcomes[i] for i in range(len(requests))]

    def abort(self, request_id: str) -> None:
        """A change that is aborted was made whole or not at all."""
        if request_id in self._running:
            self._running[request_id].cancel()

    async def close(self) -> None:
        self._is_open = False
        for task in list(self._running.values()):
            task.cancel()
        if self._running:
            await asyncio.wait(list(self._running.values()))
        await self._documents.close()

    async def _outcome(self, request: Request, job: Job) -> Outcome:
        task = asyncio.ensure_future(self._run(job))
        self._running[request.id] = task
        try:
            return await task
        except asyncio.CancelledError:
            waiting = asyncio.current_task()
            if waiting is not None and waiting.cancelling():
                raise
            return EngineError(f"the {request.op} of the store {self._info.model!r} was aborted")
        finally:
            self._running.pop(request.id, None)

    async def _run(self, job: Job) -> Outcome:
        try:
            match job:
                case Ingest():
                    keys = await self._documents.ingest(job) if job.entries else ()
                    return Result((Index(self._name, keys),), Usage(num_items=job.num_items))
                case Delete():
                    return _done(await self._documents.delete(job))
                case Search():
                    return _done(await self._documents.search(job))
                case Count():
                    return _done(await self._documents.count())
        except Exception as error:  # the outcome of this request alone
            return error


def _done(value: object) -> Result:
    return Result((value,), Usage(num_items=1))
