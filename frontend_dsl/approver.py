"""Who is asked for approval in the run of an `async def` app."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_approver: ContextVar[Callable[..., Any] | None] = ContextVar("teola_approver", default=None)
_run: ContextVar[str | None] = ContextVar("teola_stored_run", default=None)


def current_approver() -> Callable[..., Any] | None:
    """That of the run around, if it was given one."""
    return _approver.get()


def current_run() -> str | None:
    """How commands name the run around, if it is stored: it may wait without its process."""
    return _run.get()


@contextmanager
def approved_by(approver: Callable[..., Any] | None, run: str | None = None) -> Iterator[None]:
    """Who is asked in the run within, and its id where it is stored."""
    token, of_run = _approver.set(approver), _run.set(run)
    try:
        yield
    finally:
        _approver.reset(token)
        _run.reset(of_run)
