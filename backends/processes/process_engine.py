"""An engine in a process of its own: a crash of it is an error of its requests, and no more.

A watch starts the process again, after a pause that doubles while starts fail, and kills one that
does not answer any more. Contexts stay in this process, so none is lost with it.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, cast

from backends.base import Engine, EngineInfo, Expecting, Outcome, Request
from backends.engine_load import EngineLoad, ReportsLoad
from backends.errors import ConfigError, EngineError, EngineUnavailable
from backends.remote.routing.open_routed import SharesContexts

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
LOOK_S = 0.1  # whether it lives
ASK_S = 5.0  # whether it answers, and how long that may take
MAX_MISSED = 3  # answers in a row: then it hangs

_log = logging.getLogger(__name__)


class Running(Protocol):
    """What the engine needs of its child."""

    @property
    def is_alive(self) -> bool: ...

    async def ready(self) -> None: ...

    def failure(self, what: str) -> EngineUnavailable: ...

    async def stop(self, grace_s: float = ...) -> None: ...


class ProcessEngine:
    """`make_child` starts a process, and `client` is the engine that speaks with it."""

    def __init__(
        self, url: str, make_child: Callable[[], Running], client: Engine, *, waits: bool
    ) -> None:
        """`waits`: requests wait for a process that starts again, where no other one is there."""
        self._url = url
        self._make_child = make_child
        self._client = client
        self._waits = waits
        self._child: Running | None = None
        self._watch: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._is_up = asyncio.Event()
        self._attempt: asyncio.Future[None] | None = None  # of the next start: how it ends
        self._num_restarts = 0
        self._failure: EngineUnavailable | None = None  # of the last start
        self._next_start_s = 0.0

    @property
    def info(self) -> EngineInfo:
        return replace(self._client.info, model=self._url, repeats=False)

    @property
    def child(self) -> Running | None:
        return self._child

    @property
    def is_up(self) -> bool:
        """Whether the process takes requests."""
        return self._is_up.is_set() and self._child is not None and self._child.is_alive

    @property
    def num_restarts(self) -> int:
        return self._num_restarts

    async def start(self) -> None:
        """Start the process and load its engine. Raises EngineUnavailable with its log."""
        async with self._starting:
            if self._watch is not None:
                return
            await self._start_child()
            self._watch = asyncio.create_task(self._keep_up(), name=f"watch of {self._url}")

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        await self._ready()
        return await self._client.execute(requests)

    def abort(self, request_id: str) -> None:
        self._client.abort(request_id)

    def expect(self, uses: Sequence[tuple[Any, float]]) -> None:
        """See `backends.base.Expecting`."""
        if "next_use" in self._client.info.capabilities:
            cast(Expecting, self._client).expect(uses)

    async def load(self) -> EngineLoad:
        """How busy it is. Raises EngineError where it does not answer."""
        if not self._is_up.is_set():
            raise EngineUnavailable(f"the process of {self._url} is being started again")
        if not isinstance(self._client, ReportsLoad):
            return EngineLoad()
        return await self._client.load()

    def share_contexts(self, owner: object) -> None:
        """See `backends.remote.routing.open_routed.SharesContexts`."""
        if isinstance(self._client, SharesContexts):
            self._client.share_contexts(owner)

    async def close(self) -> None:
        """End the process."""
        self._is_up.clear()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        self._tell_attempt(EngineUnavailable(f"engine {self._url} was closed"))
        await self._client.close()
        if self._child is not None:
            await self._child.stop()

    async def _start_child(self) -> None:
        child = self._child = self._make_child()
        try:
            await child.ready()
            await self._client.start()
        except BaseException:
            await child.stop(0.0)
            raise
        self._is_up.set()

    async def _ready(self) -> None:
        """Wait for a process that starts again, unless its last start failed. Raises
        EngineUnavailable."""
        if self.is_up:
            return
        if not self._waits or self._watch is None:
            raise EngineUnavailable(f"the process of {self._url} is not running")
        if self._failure is not None:
            wait_s = self._next_start_s - asyncio.get_running_loop().time()
            when = f"in {wait_s:.1f} s" if wait_s > 0 else "now"
            raise EngineUnavailable(f"{self._failure}; it is tried again {when}")
        if self._attempt is None:
            self._attempt = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._attempt)

    async def _keep_up(self) -> None:
        """Until it is cancelled: start the process again whenever it has ended."""
        while True:
            why = await self._end_of_child()
            assert self._child is not None, "it was started"
            failure = self._child.failure(why)
            self._is_up.clear()
            _log.warning("%s", failure)
            await self._child.stop(0.0)
            await self._restart()

    async def _restart(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            self._next_start_s = asyncio.get_running_loop().time() + pause_s
            await asyncio.sleep(pause_s)
            try:
                await self._start_child()
            except (EngineError, ConfigError, OSError) as error:
                self._failure = EngineUnavailable(f"{self._url} cannot be started again: {error}")
                _log.warning("%s", self._failure)
                self._tell_attempt(self._failure)
                pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
            else:
                self._num_restarts += 1
                self._failure = None
                _log.info("the process of %s runs again", self._url)
                self._tell_attempt(None)
                return

    async def _end_of_child(self) -> str:
        """Why it is not there any more, when that is so."""
        assert self._child is not None, "it was started"
        loop = asyncio.get_running_loop()
        num_missed, asked_s = 0, loop.time()
        while self._child.is_alive:
            await asyncio.sleep(LOOK_S)
            if loop.time() - asked_s < ASK_S:
                continue
            num_missed = 0 if await self._answers() else num_missed + 1
            if num_missed == MAX_MISSED:
                return f"gave no answer {MAX_MISSED} times"
            asked_s = loop.time()
        return "has ended"

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(ASK_S):
                await self.load()
        except (EngineError, TimeoutError):
            return False
        return True

    def _tell_attempt(self, error: Exception | None) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is None or attempt.done():
            return
        if error is None:
            attempt.set_result(None)
        else:
            attempt.set_exception(error)
            attempt.exception()  # seen, also where nobody waits any more
