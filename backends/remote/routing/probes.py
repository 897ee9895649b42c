"""Finds out whether endpoints that failed are back.

Where the server tells its load, that is asked for in the background; else one request goes there.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from backends.errors import ConfigError, EngineError
from backends.remote.routing.endpoint import Endpoint

PROBE_S = 10.0  # a probe that takes longer has failed

_log = logging.getLogger(__name__)


class Probes:
    """All probes of one engine. `on_started` is called when an endpoint answers first, and raises
    EngineUnavailable where it cannot join."""

    def __init__(self, on_started: Callable[[Endpoint], Awaitable[None]]) -> None:
        self.on_end: Callable[[], None] = lambda: None  # called when a probe has ended
        self._on_started = on_started
        self._tasks: dict[Endpoint, asyncio.Task[None]] = {}

    async def start(self, endpoint: Endpoint) -> Exception | None:
        """Start the endpoint's engine. Raises what is wrong with settings; else gives the error."""
        try:
            await self._join(endpoint)
        except EngineError as error:
            endpoint.breaker.failed(str(error), _now(), is_final=True)
            return error
        endpoint.breaker.succeeded()
        return None

    def due(self, endpoints: Sequence[Endpoint]) -> Endpoint | None:
        """Begin the probes that are due. An endpoint that only a request can probe is returned."""
        for endpoint in endpoints:
            if endpoint.breaker.state(_now()) != "half-open":
                continue
            endpoint.breaker.begin_probe()
            if endpoint.is_started and not endpoint.tells_load:
                return endpoint
            self._tasks[endpoint] = asyncio.create_task(self._probe(endpoint))
        return None

    async def wait(self, endpoints: Sequence[Endpoint]) -> None:
        """Until the probes of these endpoints have ended."""
        tasks = [self._tasks[endpoint] for endpoint in endpoints if endpoint in self._tasks]
        if tasks:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _join(self, endpoint: Endpoint) -> None:
        await endpoint.engine.start()
        await self._on_started(endpoint)
        endpoint.started()

    async def _probe(self, endpoint: Endpoint) -> None:
        try:
            async with asyncio.timeout(PROBE_S):
                if not endpoint.is_started:
                    await self._join(endpoint)
                await endpoint.ask_load()
        except (EngineError, ConfigError, TimeoutError) as error:
            endpoint.breaker.failed(str(error) or f"no answer within {PROBE_S:g} s", _now())
        else:
            endpoint.breaker.succeeded()
            _log.info("%s is back", endpoint.url)
        finally:
            endpoint.breaker.drop_probe()
            self._tasks.pop(endpoint, None)
            self.on_end()


def _now() -> float:
    return asyncio.get_running_loop().time()
