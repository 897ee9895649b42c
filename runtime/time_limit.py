"""Gives an engine up that takes too long: its requests are aborted, and their outcomes say so."""

import asyncio
from collections.abc import Sequence

from backends.base import Engine, Outcome, Request, Result
from backends.errors import EngineTimeout

ABORT_S = 1.0  # for an engine to stop what it is told to stop


async def execute_within(
    engine: Engine, name: str, requests: Sequence[Request], timeout_s: float
) -> Sequence[Outcome]:
    """The outcomes of a batch. What has none after `timeout_s` gets an EngineTimeout; an engine
    that does not stop then is left alone with it."""
    work = asyncio.ensure_future(engine.execute(requests))
    try:
        await asyncio.wait((work,), timeout=timeout_s)
        if work.done():
            return work.result()
        for request in requests:
            engine.abort(request.id)
        await asyncio.wait((work,), timeout=ABORT_S)
        late = EngineTimeout(f"engine {name!r} gave no answer within {timeout_s:g} s (timeout_s)")
        if not work.done() or work.exception() is not None:
            return [late] * len(requests)
        return [out if isinstance(out, Result) else late for out in work.result()]
    finally:
        work.cancel()
