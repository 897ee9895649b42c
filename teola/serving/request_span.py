"""The span of the HTTP request that a task answers, where the server makes spans."""

from contextvars import ContextVar
from typing import Protocol

from backends.base import Request, Result


class RequestSpan(Protocol):
    """Counts what the engines did for one HTTP request."""

    @property
    def traceparent(self) -> str:
        """For what engines send to other servers."""

    def note(self, model: str, request: Request, result: Result) -> None:
        """A request that an engine of this name ended."""


answered: ContextVar[RequestSpan | None] = ContextVar("teola_answered", default=None)
