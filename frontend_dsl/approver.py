"""Who is asked for approval in the run of an `async def` app."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_approver: ContextVar[Callable[..., Any] | None] = ContextVar("teola_approver", default=None)


def current_approver() -> Callable[..., Any] | None:
    """That of the run around, if it was given one."""
    return _approver.get()


@contextmanager
def approved_by(approver: Callable[..., Any] | None) -> Iterator[None]:
    """Who is asked in the run within."""
    token = _approver.set(approver)
    try:
        yield
    finally:
        _approver.reset(token)
