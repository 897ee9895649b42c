"""An engine around another one, which a test makes fail: killed, hung, slow, in error."""

import asyncio
from collections.abc import Sequence

from backends.base import Engine, EngineInfo, Outcome, Request
from backends.errors import EngineError, EngineUnavailable


class FaultyEngine:
    """Well at first. A kill ends all that runs and loses the `epoch` of what the engine kept."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_down = False
        self.hangs = False  # it answers nothing, and aborts are the only end
        self.slow_s = 0.0  # more for each batch
        self.errors: list[Exception] = []  # of the next batches: raised, the first one first
        self.num_batches = 0  # that were begun
        self.num_running = 0
        self._ends: dict[str, asyncio.Future[Exception]] = {}  # by request id

    @property
    def info(self) -> EngineInfo:
        return self.engine.info

    async def start(self) -> None:
        self._check()
        await self.engine.start()

    async def close(self) -> None:
        await self.engine.close()

    def kill(self) -> None:
        """From now on nothing answers, and what runs ends."""
        self.is_down = True
        for end in self._ends.values():
            if not end.done():
                end.set_result(EngineUnavailable("the engine was killed"))

    def restart(self) -> None:
        self.is_down = self.hangs = False
        self.slow_s = 0.0

    def abort(self, request_id: str) -> None:
        self.engine.abort(request_id)
        end = self._ends.get(request_id)
        if self.hangs and end is not None and not end.done():
            end.set_result(EngineError("the request was aborted"))

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        self._check()
        self.num_batches += 1
        if self.errors:
            raise self.errors.pop(0)
        end: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._ends |= dict.fromkeys([request.id for request in requests], end)
        self.num_running += 1
        work = asyncio.ensure_future(self._work(requests))
        try:
            await asyncio.wait((work, end), return_when=asyncio.FIRST_COMPLETED)
            return [end.result()] * len(requests) if end.done() else work.result()
        finally:
            self.num_running -= 1
            for request in requests:
                del self._ends[request.id]
            if not work.done():
                work.cancel()
                await asyncio.wait((work,))

    async def _work(self, requests: Sequence[Request]) -> list[Outcome]:
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        if self.slow_s:
            await asyncio.sleep(self.slow_s)
        return await self.engine.execute(requests)

    def _check(self) -> None:
        if self.is_down:
            raise EngineUnavailable("the engine is down")
