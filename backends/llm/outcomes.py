"""How requests end: a future is settled once, and what failed is an error of the engine."""

import asyncio
from typing import TypeVar

from backends.errors import EngineError

T = TypeVar("T")


def settle(future: "asyncio.Future[T]", result: T) -> None:
    if not future.done():  # its caller may have been cancelled
        future.set_result(result)


def settle_with(future: "asyncio.Future[T]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def as_failure(error: BaseException, what: str) -> EngineError:
    """The outcome of a request that a mistake of ours ended; errors of engines as they are."""
    if isinstance(error, EngineError):
        return error
    failure = EngineError(f"{what}: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
