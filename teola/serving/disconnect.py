"""A client that goes away ends the work that was done for it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive, Scope

T = TypeVar("T")


_GONE = "teola.gone"


class ClientGone(Exception):
    """Nobody is left to be answered."""


def mark_gone(scope: Scope) -> None:
    """For the access log: this request's client went away."""
    scope[_GONE] = True


def is_gone(scope: Scope) -> bool:
    return _GONE in scope


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, or ClientGone as soon as the connection is closed: `work` is then
    cancelled. The body must have been read."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.exception()  # seen: nobody is left to be told


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
