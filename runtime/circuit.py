"""A circuit breaker for a server without a second instance: what is gone costs its queries little.

After three failures in a row nothing is sent for up to a second, in which requests wait: most
outages are short. Then one is sent, and the others wait for it, for up to ten seconds. If it fails
too, requests fail at once until the next one is sent, after 2, 4, 8, 10 ... s.
"""

import asyncio
from collections.abc import Sequence
from random import Random

from backends.base import Engine, Outcome
from backends.errors import EngineLeftAlone, EngineTimeout, EngineUnavailable, RequestAborted
from backends.remote.local_prefill import is_local
from backends.remote.routing.breaker import Breaker
from runtime.clock import now
from runtime.job import Job

LONGEST_PAUSE_S = 10.0

Probe = asyncio.Future[None]


class Circuit:
    """Of one engine. A batch enters before it runs, and leaves with its outcomes."""

    def __init__(self, name: str, engine: Engine) -> None:
        self._name = name
        self._engine = engine
        self._breaker = Breaker(Random(name).random, LONGEST_PAUSE_S)
        self._probe: Probe | None = None

    def asks(self, batch: Sequence[Job]) -> bool:
        """Whether the batch goes to the server."""
        info = self._engine.info
        return not all(is_local(job.request, info) for job in batch)

    async def enter(self) -> Probe | None:
        """When a batch may be sent; a probe is what the others wait for. Raises EngineLeftAlone."""
        while (state := self._breaker.state(now())) != "closed":
            if state == "half-open":
                self._breaker.begin_probe()
                self._probe = asyncio.get_running_loop().create_future()
                return self._probe
            if self._breaker.num_pauses > 1:
                raise self._refusal()
            await self._first_pause()
        return None

    def leave(self, outcomes: Sequence[Outcome], probe: Probe | None) -> None:
        """Note how a batch that entered has ended. What was given up says nothing of the server."""
        outcomes = [out for out in outcomes if not isinstance(out, RequestAborted)]
        failed = [out for out in outcomes if isinstance(out, EngineUnavailable)]
        if any(isinstance(out, EngineLeftAlone) for out in failed):
            return
        if len(failed) < len(outcomes):
            self._breaker.succeeded()
        elif outcomes and (probe is not None or self._counts(failed[0])):
            self._breaker.failed(str(failed[0]), now())
        elif probe is not None:
            self._breaker.drop_probe()
        if probe is not None and not probe.done():
            probe.set_result(None)

    def _counts(self, failure: EngineUnavailable) -> bool:
        """Not of what was on its way when it opened, nor of one request that took too long."""
        return not self._breaker.is_open and not isinstance(failure, EngineTimeout)

    async def _first_pause(self) -> None:
        """Until a probe may go, or the one that goes has ended. Raises EngineLeftAlone where that
        one hangs."""
        if self._probe is not None and not self._probe.done():
            done, _ = await asyncio.wait((self._probe,), timeout=LONGEST_PAUSE_S)
            if not done:
                raise self._refusal()
        else:
            await asyncio.sleep(self._breaker.retry_in_s(now()))

    def _refusal(self) -> EngineLeftAlone:
        wait_s = self._breaker.retry_in_s(now())
        when = f"for {wait_s:.1f} s more" if wait_s else "while a request tries it"
        return EngineLeftAlone(
            f"engine {self._name!r} failed again and again and is left alone {when}: "
            f"{self._breaker.reason}",
            wait_s,
        )
