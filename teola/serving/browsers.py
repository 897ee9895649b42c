"""Which web pages may call a server from browsers: none, unless it was told so."""

from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware


def for_browsers(origins: Sequence[str]) -> list[Middleware]:
    """What lets pages of `origins` in; outermost, since browsers ask without a key first."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "x-teola-warning", "retry-after"],
        )
    ]
