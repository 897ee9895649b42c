"""An engine in this process: batches run one after another in a thread of their own."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from backends.base import EngineInfo, Outcome, Request
from backends.errors import EngineUnavailable

T = TypeVar("T")


class Runner(Protocol):
    """What does the work; every call comes from the same thread."""

    def run(self, requests: Sequence[Request]) -> list[Outcome]:
        """The outcomes of a batch, in order."""

    def close(self) -> None:
        """Free everything."""


RunnerT = TypeVar("RunnerT", bound=Runner)


class LocalEngine(Generic[RunnerT]):
    """Loads a runner at `start` and gives it batches; the event loop is never blocked."""

    def __init__(self, info: EngineInfo, load: Callable[[], RunnerT]) -> None:
        self._info = info
        self._load = load
        self._runner: RunnerT | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._starting = asyncio.Lock()

    @property
    def info(self) -> EngineInfo:
        return self._info

    async def start(self) -> None:
        async with self._starting:
            if self._runner is not None:
                return
            try:
                self._runner = await self._in_thread(self._load)
            finally:
                if self._runner is None:
                    await self.close()

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        runner = self._started_runner()
        return await self._in_thread(lambda: runner.run(requests))

    def abort(self, request_id: str) -> None:
        """Nothing to do: a batch is short and runs to its end."""

    async def close(self) -> None:
        runner, self._runner = self._runner, None
        thread, self._thread = self._thread, None
        if thread is not None:
            if runner is not None:
                await in_thread_or_here(thread, runner.close)
            thread.shutdown(wait=False)

    def _started_runner(self) -> RunnerT:
        if self._runner is None:
            raise EngineUnavailable(
                f"the {self._info.kind} {self._info.model!r} is not started; call start() first"
            )
        return self._runner

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix=self._info.kind)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


async def in_thread_or_here(thread: ThreadPoolExecutor | None, work: Callable[[], None]) -> None:
    """While the interpreter shuts down, its thread pools take no more work."""
    try:
        await asyncio.get_running_loop().run_in_executor(thread, work)
    except RuntimeError:
        work()
