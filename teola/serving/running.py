"""The requests at one engine, until each has its outcome.

A request whose client goes away is aborted, and the engine tells what it had computed: those tokens
count. When the server ends, requests that still run are answered with an error.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from backends.base import Context, Engine, Outcome, Request, Result, Usage
from backends.errors import EngineUnavailable, RequestAborted

_ABORT_S = 0.5  # for the engine to stop by itself and tell what it computed
_CLOSING = "the server is closing; send the request to another, or again later"


class Running:
    """Of one engine. `count_aborted` gets the cost of each request that nobody waits for."""

    def __init__(self, engine: Engine, count_aborted: Callable[[Usage], None]) -> None:
        self._engine = engine
        self._count_aborted = count_aborted
        self._outcomes: dict[asyncio.Future[Outcome], Request] = {}
        self._is_ended = False

    async def run(self, request: Request) -> Outcome:
        """At once: engines make their own batches. Cancelling the caller aborts the request, which
        has stopped when this returns."""
        if self._is_ended:
            return EngineUnavailable(_CLOSING)
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Outcome] = loop.create_future()
        self._outcomes[outcome] = request
        work = loop.create_task(self._engine.execute([request]))
        work.add_done_callback(partial(self._take, outcome))
        try:
            return await outcome
        except asyncio.CancelledError:
            if outcome.done() and not outcome.cancelled():
                self._drop(outcome.result())  # it came at the same moment
            raise
        finally:
            if not work.done():
                self._engine.abort(request.id)
                await asyncio.wait((work,), timeout=_ABORT_S)
                work.cancel()

    def end(self) -> None:
        """Answer all that run, and all that come after."""
        self._is_ended = True
        for outcome in self._outcomes:
            if not outcome.done():
                outcome.set_result(EngineUnavailable(_CLOSING))

    def _take(self, outcome: asyncio.Future[Outcome], work: "asyncio.Task[list[Outcome]]") -> None:
        del self._outcomes[outcome]
        if work.cancelled():
            found: Outcome = RequestAborted()
        elif (error := work.exception()) is not None:
            found = error if isinstance(error, Exception) else RequestAborted()
        else:
            (found,) = work.result()
        if outcome.done():
            self._drop(found)
        else:
            outcome.set_result(found)

    def _drop(self, unwanted: Outcome) -> None:
        if isinstance(unwanted, Result | RequestAborted):
            self._count_aborted(unwanted.usage)
        if isinstance(unwanted, Result):  # it ended before the abort came
            for output in unwanted.outputs:
                if isinstance(output, Context):
                    output.release()
