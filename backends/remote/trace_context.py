"""The W3C trace context of the request that a task works for: what it sends says so too."""

from collections.abc import Mapping
from contextvars import ContextVar

traceparent: ContextVar[str] = ContextVar("teola_traceparent", default="")


def trace_headers() -> Mapping[str, str]:
    """The headers of what the running task sends."""
    value = traceparent.get()
    return {"traceparent": value} if value else {}
